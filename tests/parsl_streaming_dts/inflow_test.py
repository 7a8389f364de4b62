"""Tokens, connections and who belongs to whom, in any order."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from parsl_streaming.packing import OpenBatch
from parsl_streaming.packing import Packer
from parsl_streaming_dts.inflow import Inflow
from parsl_streaming_dts.stream import Stream

ONE, TWO = ('one', 1), ('two', 1)
TOKENS = {ONE: b'1' * 16, TWO: b'2' * 16}


class Place:
    """An inflow, and the writers' streams."""

    def __init__(self) -> None:
        self.poller = zmq.Poller()
        self.inflow = Inflow(['127.0.0.1'], self.poller, 1 << 24)
        self.streams: list[Stream] = []

    def dial(self, key: tuple[str, int]) -> Stream:
        port = self.inflow.ports[0]
        self.streams.append(Stream.dial('127.0.0.1', port, TOKENS[key], 1 << 24))
        return self.streams[-1]

    def step(self) -> None:
        for stream in self.streams:
            stream.push()
        for file, events in self.poller.poll(5):
            assert isinstance(file, int)
            self.inflow.serve(file, events)

    def until(self, happened: Callable[[], Any]) -> Any:
        limit = time.monotonic() + 10
        while not (result := happened()):
            assert time.monotonic() < limit, 'it did not happen in time'
            self.step()
        return result


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.inflow.close()
    for stream in place.streams:
        stream.close()


def reply(body: bytes) -> Any:
    batch = OpenBatch()
    batch.add(body, (0, None, None, None, None))
    return Packer('r', 1, b'channel!', None).pack(batch)


@pytest.mark.parametrize('greeted_first', [True, False])
def test_the_token_and_the_connection_meet(place: Place, *, greeted_first: bool) -> None:
    if greeted_first:
        place.inflow.expect(ONE, TOKENS[ONE])
    place.dial(ONE).send(b'head', b'body')
    if not greeted_first:
        place.until(lambda: place.inflow._door._tokens)
        assert place.inflow.read() is None
        place.inflow.expect(ONE, TOKENS[ONE])
    key, frame = place.until(place.inflow.read)
    assert (key, bytes(frame.head), bytes(frame.body)) == (ONE, b'head', b'body')


def test_writers_take_turns(place: Place) -> None:
    for key in (ONE, TWO):
        place.inflow.expect(key, TOKENS[key])
        stream = place.dial(key)
        for _ in range(20):
            stream.send(b'h', b'b')
    place.until(lambda: len(place.inflow._by_file) == 2)
    place.until(lambda: len(place.inflow._ready) == 2)
    time.sleep(0.05)
    keys = [place.until(place.inflow.read)[0] for _ in range(20)]
    assert 5 <= keys.count(ONE) <= 15


def test_a_newer_connection_replaces_the_one_before(place: Place) -> None:
    place.inflow.expect(ONE, TOKENS[ONE])
    first = place.dial(ONE)
    place.until(lambda: place.inflow._by_file)
    place.dial(ONE).send(b'second', b'')

    def is_over() -> bool:
        first.read()
        return first.broken

    place.until(is_over)
    assert bytes(place.until(place.inflow.read)[1].head) == b'second'
    assert len(place.inflow._by_file) == 1


def test_replies_wait_for_the_next_connection(place: Place) -> None:
    place.inflow.expect(ONE, TOKENS[ONE])
    first = place.dial(ONE)
    place.until(lambda: place.inflow._by_file)
    first.close()
    place.streams.remove(first)
    place.until(lambda: place.inflow.read() or not place.inflow._by_file)
    place.inflow.reply(ONE, reply(b'late'))
    second = place.dial(ONE)
    assert bytes(place.until(second.read).body) == b'late'


def test_replies_that_the_writer_has_not_confirmed_come_again(place: Place) -> None:
    place.inflow.expect(ONE, TOKENS[ONE])
    first = place.dial(ONE)
    place.until(lambda: place.inflow._by_file)
    packer = Packer('r', 1, b'channel!', None)
    for body in (b'1', b'2', b'3'):
        batch = OpenBatch()
        batch.add(body, (0, None, None, None, None))
        place.inflow.reply(ONE, packer.pack(batch))
    assert [bytes(place.until(first.read).body) for _ in range(3)] == [b'1', b'2', b'3']
    place.inflow.confirm(ONE, 2)
    assert not place.inflow.is_cut
    second = place.dial(ONE)
    assert bytes(place.until(second.read).body) == b'3'
    place.inflow.confirm(ONE, 3)


def test_replies_of_any_size_arrive(place: Place) -> None:
    place.inflow.expect(ONE, TOKENS[ONE])
    stream = place.dial(ONE)
    place.until(lambda: place.inflow._by_file)
    for size in (10, 12_000_000):
        place.inflow.reply(ONE, reply(bytes(size)))
        assert len(place.until(stream.read).body) == size
