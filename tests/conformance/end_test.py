"""Ends are explicit: end of stream, abort, retry, fencing, closing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from parsl_streaming.errors import ChannelAborted
from parsl_streaming.errors import ChannelClosed
from parsl_streaming.errors import ChannelTimeout
from parsl_streaming.errors import EndOfStream
from parsl_streaming.errors import ProducerFenced
from parsl_streaming.errors import ProducerNameTaken

Stages = Callable[..., Any]


def test_readers_end_when_every_writer_has_ended(stage: Stages) -> None:
    here = stage(writers=3)
    results = [here.read(here.reader()) for _ in range(2)]
    writers = [here.writer() for _ in range(3)]
    for i, writer in enumerate(writers[:2]):
        here.send(i, writer=writer).result(10)
    time.sleep(0.1)
    assert not any(result.done() for result in results)
    here.send(2, writer=writers[2]).result(10)
    assert sorted(results[0].result(10) + results[1].result(10)) == [0, 1, 2]


def test_a_stream_of_nothing_ends(stage: Stages) -> None:
    here = stage()
    got = here.read()
    here.send().result(10)
    assert got.result(10) == []


def test_after_the_end_every_receive_says_so(stage: Stages) -> None:
    here = stage()
    reader = here.reader()
    here.send(1)
    reader.receive(5)
    for _ in range(2):
        with pytest.raises(EndOfStream):
            reader.receive(5)


def test_a_reader_that_opens_after_the_writer_closed_still_ends(stage: Stages) -> None:
    here = stage()
    got = here.read()
    here.send(1, 2, 3).result(10)
    assert got.result(10) == [1, 2, 3]
    assert here.read().result(10) == []


def test_an_abort_comes_after_what_was_sent(stage: Stages) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()

    def fail() -> None:
        writer.send('last words')
        writer.abort('the detector tripped')

    here.run(fail)
    assert reader.receive(5).value == 'last words'
    with pytest.raises(ChannelAborted, match='the detector tripped'):
        reader.receive(5)


def test_a_writer_whose_body_raised_aborts(stage: Stages) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()

    def fail() -> None:
        with pytest.raises(ZeroDivisionError), writer:
            writer.send(1 / 0)

    here.run(fail).result(10)
    with pytest.raises(ChannelAborted, match='ZeroDivisionError'):
        reader.receive(5)


def test_readers_wait_for_the_retry_of_an_aborted_writer(stage: Stages) -> None:
    here = stage()
    got = here.read(body=lambda message: (message.value, message.id[1]))
    first = here.writer('p', 'call')
    first.send('from the first run')
    here.run(lambda: first.abort('preempted', retry=True)).result(10)
    second = here.writer('p', 'call')
    here.send('from the second run', writer=second)
    assert got.result(10) == [('from the first run', 1), ('from the second run', 2)]


def test_a_task_that_failed_for_good_aborts_the_stream(stage: Stages) -> None:
    here = stage()
    reader = here.reader()
    ticket = here.session.ticket('frames', 'writer', name='p').result(5)
    here.session.fail(ticket, 'the node is gone')
    with pytest.raises(ChannelAborted, match='the node is gone'):
        reader.receive(5)


def test_a_newer_epoch_fences_the_older(stage: Stages) -> None:
    here = stage()
    got = here.read(body=lambda message: message.value[0])
    old = here.writer('p', 'call')
    old.send(['old'])
    old.flush(5)
    new = here.writer('p', 'call')
    with pytest.raises(ProducerFenced):
        _send_on(old)
    with pytest.raises(ProducerFenced):
        old.flush(1)
    here.send(['new'], writer=new).result(10)
    received = got.result(10)
    assert received[0] == 'old'
    assert 'new' in received


def _send_on(writer: Any) -> None:
    for _ in range(500):
        writer.send(['old'], timeout=1)
        time.sleep(0.01)


def test_a_name_belongs_to_one_call(stage: Stages) -> None:
    here = stage()
    here.writer('p', 'one call')
    with pytest.raises(ProducerNameTaken, match="'p'"):
        here.writer('p', 'another call')


def test_closing_is_idempotent(stage: Stages) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()
    writer.close()
    writer.close()
    writer.abort('too late')
    writer.flush()
    reader.close()
    reader.close()
    reader.abandon()
    here.session.close()
    here.session.close()
    assert here.session.id


def test_a_closed_end_refuses_to_be_used(stage: Stages) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()
    writer.close()
    reader.close()
    with pytest.raises(ChannelClosed, match='writer is closed'):
        writer.send(1)
    with pytest.raises(ChannelClosed, match='reader is closed'):
        reader.receive(1)


def test_a_message_may_be_settled_after_its_reader_closed(stage: Stages) -> None:
    here = stage(batch_messages=1)
    reader = here.reader(manual=True)
    writer = here.writer()
    writer.send(1)
    message = reader.receive(5)
    reader.close()
    for settle in (message.ack, message.nack, message.in_progress, lambda: message.reject('no')):
        settle()
    again = here.reader().receive(5)
    assert (again.value, again.redelivered) == (1, True)


def test_a_closed_reader_gives_the_rest_of_the_end_to_nobody(stage: Stages) -> None:
    here = stage()
    reader = here.reader()
    with pytest.raises(ChannelTimeout):
        reader.receive(0.05)
    reader.close()
    assert here.session.statistics('frames').messages == 0


def test_all_writers_ended_means_no_more_writers(stage: Stages) -> None:
    here = stage()
    got = here.read()
    here.send(1).result(10)
    got.result(10)
    with pytest.raises(ChannelClosed, match='has ended: every writer closed it'):
        here.writer()
