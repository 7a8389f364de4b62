from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import zmq

from parsl_streaming.credit import START_MESSAGES
from parsl_streaming_dts.frames import STAGE_BYTES

Stages = Callable[..., Any]


def _peer(here: Any, writer: Any, reader: Any) -> Any:
    here.connect(writer, reader)
    (peer,) = writer._peers.values()
    return peer


def test_a_reader_is_met_once_it_has_announced_itself(stage: Stages) -> None:
    here = stage()
    writer = here.writer()
    here.declare('reader', 'r', 'g', 1)
    writer.pump(0.0)
    assert writer._peers == {}
    reader = here.reader('r')
    peer = _peer(here, writer, reader)
    assert (peer.name, peer.group, peer.epoch) == ('r', 'g', 1)


def test_credit_begins_small_and_grows_on_demand(stage: Stages) -> None:
    here = stage(credit_messages=5)
    peer = _peer(here, here.writer(), here.reader())
    assert peer.account.limit_messages == START_MESSAGES
    for expected in (4, 5, 5):
        peer.widen()
        assert peer.account.limit_messages == expected


@pytest.mark.parametrize('size', [0, 1, 1000, STAGE_BYTES, 3 << 20, 20_000_000])
def test_bodies_of_every_size_arrive(stage: Stages, size: int) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()
    here.connect(writer, reader)
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    writer.write(here.batch(body), 5)
    delivery = here.take(reader, writer)
    assert bytes(delivery.batch.body) == body
    assert delivery.deliveries == 1


def test_a_redelivery_says_what_is_settled(stage: Stages) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()
    here.connect(writer, reader)
    writer.write(here.batch(*[b'x'] * 100), 5)
    first = here.take(reader, writer)
    reader.release(first, (1 << 99) | 1)
    again = here.take(reader, writer)
    assert (again.deliveries, again.settled) == (2, (1 << 99) | 1)


@pytest.mark.parametrize('which', [[0], [1], [0, 1]], ids=['control', 'data', 'both'])
@pytest.mark.parametrize('watched', [True, False])
def test_a_connection_that_is_cut_loses_nothing(
    stage: Stages, relay: Callable[..., Any], *, which: list[int], watched: bool
) -> None:
    """Whether the writer looks between the loss and the return, or after both."""
    here = stage()
    reader, writer = here.reader(), here.writer()
    contact = dict(here.view.of('reader')[0].contact)
    ((host, *ports),) = contact['addresses']
    relays = [relay(port) for port in ports]
    addresses = [(host, *(each.port for each in relays))]
    here.change('reader', 'r', contact=contact | {'addresses': addresses})
    _peer(here, writer, reader)
    for i in which:
        relays[i].cut()
    writer.write(here.batch(b'lost on the way, perhaps'), 5)
    if not watched:
        time.sleep(0.2)
    assert bytes(here.take(reader, writer).batch.body) == b'lost on the way, perhaps'


def test_a_reader_that_falls_silent_is_noticed_within_its_lease(stage: Stages) -> None:
    """Not by a closed socket: by libzmq's heartbeat."""
    here = stage(lease=0.3)
    peer = _peer(here, here.writer(), here.reader())
    interval = peer.control.getsockopt(zmq.HEARTBEAT_IVL)
    patience = peer.control.getsockopt(zmq.HEARTBEAT_TIMEOUT)
    assert 0 < interval + patience <= 300
