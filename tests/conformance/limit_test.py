"""Backpressure, never loss; and every limit that a channel declares."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from parsl_streaming.errors import ChannelFull
from parsl_streaming.errors import ChannelTimeout
from parsl_streaming.errors import CodecError
from parsl_streaming.errors import MessageTooLarge

Stages = Callable[..., Any]
SMALL: dict[str, Any] = {'batch_messages': 2, 'credit_messages': 4, 'credit': '1 MiB'}


def test_a_slow_reader_blocks_its_writer_and_nothing_is_lost(stage: Stages) -> None:
    here = stage(**SMALL)
    reader, writer = here.reader(manual=True), here.writer()
    accepted = [i for i in range(30) if _is_accepted(writer, i)]
    assert 2 <= len(accepted) < 15
    with pytest.raises(ChannelFull, match='frames'):
        writer.send('too much', timeout=0.05)
    here.run(writer.close)
    got = []
    for message in reader:
        got.append(message.value)
        message.ack()
    assert got == accepted


def test_bytes_are_credit_too(stage: Stages) -> None:
    here = stage(batch='64 KiB', credit='128 KiB', batch_messages=100)
    here.reader(manual=True)
    writer = here.writer()
    accepted = sum(_is_accepted(writer, bytes(32 << 10)) for _ in range(30))
    assert 2 <= accepted < 15


def _is_accepted(writer: Any, value: Any) -> bool:
    try:
        writer.send(value, timeout=0.05)
    except ChannelFull:
        return False
    return True


def test_a_batch_may_be_larger_than_the_largest_message(stage: Stages) -> None:
    here = stage(max_message='10 KiB')
    begun: list[None] = []

    def body(message: Any) -> int:
        if not begun:  # while it waits, the writer fills its batches
            begun.append(None)
            time.sleep(0.2)
        return len(message.data)

    got = here.read(body=body)
    writer = here.writer()
    here.send(*[bytes(1000)] * 2000, writer=writer).result(20)
    assert got.result(20) == [1000] * 2000


def test_replies_together_may_be_larger_than_the_largest_message(stage: Stages) -> None:
    here = stage(max_message='100 KiB', pattern='feedback')
    done = here.read(body=lambda message: message.reply(bytes(90 << 10)))
    writer = here.writer()
    replies = [writer.request(i) for i in range(40)]
    assert [len(reply.result(10)) for reply in replies] == [90 << 10] * 40
    writer.close()
    done.result(10)


def test_a_reply_that_is_too_large_is_refused(stage: Stages) -> None:
    here = stage(max_message='10 KiB', pattern='feedback')
    done = here.read(body=lambda message: message.reply(bytes(message.value)))
    writer = here.writer()
    writer.request(20 << 10)
    with pytest.raises(MessageTooLarge, match='a reply of 20,480 bytes exceeds max_message'):
        done.result(10)
    here.readers.clear()


def test_a_consumer_that_holds_large_messages_gets_more(stage: Stages) -> None:
    here = stage(timeout=10)
    reader, writer = here.reader(manual=True), here.writer()
    sent = here.send(*[bytes(3 << 20)] * 4, writer=writer)
    for _ in range(2):
        for message in [reader.receive(5), reader.receive(5)]:
            message.ack()
    reader.close()
    assert sent.result(10) is None


def test_send_blocks_until_there_is_credit_again(stage: Stages) -> None:
    here = stage(**SMALL)
    reader, writer = here.reader(manual=True), here.writer()
    sent = here.send(*range(60), writer=writer)
    held = [reader.receive(5)]
    assert not sent.done()
    while len(held) < 60:
        held[-1].ack()
        held.append(reader.receive(5))
    held[-1].ack()
    assert sent.result(10) is None
    assert writer.statistics().blocked > 0


def test_drop_oldest_drops_what_has_not_left_and_counts_it(stage: Stages) -> None:
    here = stage(**SMALL, on_full='drop-oldest')
    reader, writer = here.reader(manual=True), here.writer()
    for i in range(100):
        writer.send(i)
    here.run(writer.close)
    got = []
    for message in reader:
        got.append(message.value)
        message.ack()
    dropped = writer.statistics().dropped
    assert dropped > 0
    assert len(got) + dropped == 100
    assert got == sorted(got)
    assert got[-1] == 99


def test_flush_returns_when_everything_is_acknowledged(stage: Stages, *, stores: bool) -> None:
    here = stage()
    got = here.read()
    writer = here.writer()
    writer.send(1)
    writer.flush(5)
    assert writer.is_safe(writer.position())
    assert stores or here.readers[0].statistics().messages == 1
    writer.close()
    assert got.result(5) == [1]


def test_flush_without_a_reader_times_out_and_keeps_everything(
    stage: Stages, *, stores: bool
) -> None:
    if stores:
        pytest.skip('stored messages are safe without a reader')
    here = stage()
    writer = here.writer()
    writer.send(1)
    with pytest.raises(ChannelTimeout, match='frames'):
        writer.flush(0.1)
    here.run(writer.close)
    assert here.read().result(10) == [1]


def test_a_read_times_out_and_goes_on(stage: Stages) -> None:
    here = stage()
    reader = here.reader()
    with pytest.raises(ChannelTimeout, match='no message'):
        reader.receive(0.05)
    here.send('late')
    assert reader.receive(5).value == 'late'


def test_a_message_above_the_limit_is_refused_and_the_stream_goes_on(stage: Stages) -> None:
    here = stage(max_message='1 KiB')
    got = here.read()
    writer = here.writer()
    with pytest.raises(MessageTooLarge, match='max_message'):
        writer.send(bytes(1025))
    here.send(bytes(1024), writer=writer).result(10)
    assert [len(value) for value in got.result(10)] == [1024]


def test_what_no_codec_takes_is_refused_and_the_stream_goes_on(stage: Stages) -> None:
    here = stage()
    got = here.read()
    writer = here.writer()
    for value in ({1, 2}, object(), [object()], 1 << 70):
        with pytest.raises(CodecError, match='cannot send'):
            writer.send(value)
    for key, headers in ((object(), None), ('k', {'x': object()})):
        with pytest.raises(CodecError):
            writer.send(1, key=key, headers=headers)
    here.send('fine', writer=writer).result(10)
    assert got.result(10) == ['fine']


def test_messages_leave_after_the_linger_without_a_flush(stage: Stages) -> None:
    here = stage(linger='5 ms')
    reader, writer = here.reader(), here.writer()
    for i in range(3):
        writer.send(i)
    assert [reader.receive(5).value for _ in range(3)] == [0, 1, 2]


def test_statistics_tell_what_happened(stage: Stages) -> None:
    here = stage(batch_messages=10)
    got = here.read(here.reader('r'))
    here.send(*[b'12345'] * 50, writer=here.writer('p')).result(10)
    got.result(10)
    seen = here.session.statistics('frames')
    assert (seen.sent, seen.messages, seen.nbytes) == (50, 50, 250)
    assert (seen.redelivered, seen.duplicates, seen.dropped) == (0, 0, 0)
    assert (seen.damaged, seen.dead_letters) == (0, 0)
    assert list(seen.writers) == ['p#1']
    assert seen.readers['r#1'].acknowledged == 50
    assert seen.latencies.quantile(0.5) is not None
    assert seen.seconds >= 0
