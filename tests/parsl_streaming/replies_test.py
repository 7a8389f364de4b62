from __future__ import annotations

from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import replace
from typing import Any

import pytest

from parsl_streaming.codecs import Codecs
from parsl_streaming.errors import ChannelClosed
from parsl_streaming.errors import CodecError
from parsl_streaming.errors import RequestRejected
from parsl_streaming.packing import OpenBatch
from parsl_streaming.packing import Packer
from parsl_streaming.packing import Unpacker
from parsl_streaming.replies import PendingReplies
from parsl_streaming.replies import Reply
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Flag

CHANNEL = b'channel!'


def pending(*, gather: bool = False) -> PendingReplies:
    return PendingReplies(Codecs('c'), Unpacker(CHANNEL, None, 1 << 20), gather=gather)


def answer(reader: str, *replies: tuple[int, Any], error: str | None = None) -> Batch:
    batch = OpenBatch()
    for seq, value in replies:
        codec, meta, data = Codecs('c').encode(value)
        batch.add(data, (codec, meta, None, {'error': error} if error else None, seq))
    return Packer(reader, 1, CHANNEL, None).pack(batch, flags=Flag.REPLY)


def expect(replies: PendingReplies, seq: int, readers: int = 1) -> Reply:
    reply = Reply(lambda timeout: None)
    replies.expect(seq, reply, readers)
    return reply


def test_each_reply_finds_its_request() -> None:
    replies = pending()
    waiting = [expect(replies, seq) for seq in range(3)]
    replies.receive(answer('r', (2, 'two'), (0, 'zero')))
    assert [waiting[0].result(0), waiting[2].result(0)] == ['zero', 'two']
    assert not waiting[1].done()
    assert (len(replies), replies.received) == (1, 2)


def test_a_second_reply_and_one_to_nothing_are_ignored() -> None:
    replies = pending()
    reply = expect(replies, 1)
    replies.receive(answer('r', (1, 'first'), (1, 'second'), (9, 'stray')))
    replies.receive(answer('r', (1, 'third')))
    assert reply.result(0) == 'first'
    assert replies.received == 1


def test_a_gather_waits_for_every_reader_in_order_of_their_names() -> None:
    replies = pending(gather=True)
    reply = expect(replies, 1, readers=2)
    replies.receive(answer('b', (1, 'from b')))
    replies.receive(answer('b', (1, 'again')))
    assert not reply.done()
    replies.receive(answer('a', (1, 'from a')))
    assert reply.result(0) == ['from a', 'from b']


@pytest.mark.parametrize('gather', [True, False])
def test_an_error_rejects_the_request(*, gather: bool) -> None:
    replies = pending(gather=gather)
    reply = expect(replies, 1, readers=2)
    replies.receive(answer('r', (1, None), error='not today'))
    assert isinstance(reply.exception(0), RequestRejected)
    with pytest.raises(RequestRejected, match='not today'):
        reply.result(0)
    assert len(replies) == 0


def test_a_damaged_batch_answers_nothing() -> None:
    replies = pending()
    reply = expect(replies, 1)
    replies.receive(replace(answer('r', (1, 'x')), body=b'damaged'))
    assert not reply.done()


def test_a_reply_that_cannot_be_decoded_is_an_error() -> None:
    batch = OpenBatch()
    batch.add(b'\xc1', (1, None, None, None, 1))
    replies = pending()
    reply = expect(replies, 1)
    replies.receive(Packer('r', 1, CHANNEL, None).pack(batch))
    with pytest.raises(CodecError):
        reply.result(0)


def test_what_waits_fails_when_the_writer_closes() -> None:
    replies = pending()
    reply = expect(replies, 1)
    replies.fail('the writer was closed')
    with pytest.raises(ChannelClosed, match='the writer was closed'):
        reply.result(0)


def test_a_reply_that_was_given_up_disturbs_nobody() -> None:
    replies = pending()
    given_up, other = expect(replies, 1), expect(replies, 2)
    given_up.cancel()
    replies.receive(answer('r', (1, 'late'), (2, 'fine')))
    assert other.result(0) == 'fine'
    expect(replies, 3).cancel()
    replies.fail('closed')
    assert len(replies) == 0


def test_waiting_moves_the_traffic() -> None:
    pumped: list[float] = []
    reply = Reply(pumped.append)
    with pytest.raises(FutureTimeoutError):
        reply.result(0.001)
    assert pumped
    assert max(pumped) <= 0.1


def test_a_reply_comes_while_waiting() -> None:
    reply = Reply(lambda timeout: reply.set_result('now'))
    assert reply.result() == 'now'
    assert reply.exception() is None
