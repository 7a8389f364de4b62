from __future__ import annotations

import time
from typing import Any

import pytest

from parsl_streaming.codecs import Codecs
from parsl_streaming.errors import CodecError
from parsl_streaming.errors import UsageError
from parsl_streaming.message import Holding
from parsl_streaming.message import Message
from parsl_streaming.packing import OpenBatch
from parsl_streaming.packing import Packer
from parsl_streaming.packing import Unpacker
from parsl_streaming.seam import Delivery

CHANNEL = b'channel!'


class Reader:
    """Notes what messages ask of it."""

    codecs = Codecs('c')

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda holding, *args: self.asked.append((name, *args))


def messages(*rows: tuple[Any, ...], deliveries: int = 1) -> tuple[list[Message], Reader]:
    batch = OpenBatch()
    for value, key, headers, ref in rows:
        codec, meta, data = Codecs('c').encode(value)
        batch.add(data, (codec, meta, key, headers, ref))
    sender = Packer('p', 2, CHANNEL, bytes(32))
    sender.seq = 100
    packed = sender.pack(batch)
    opened = Unpacker(CHANNEL, bytes(32), 1 << 20).open(packed)
    holding, reader = Holding(Delivery(packed, deliveries), opened), Reader()
    return [Message(reader, holding, i) for i in range(len(rows))], reader  # type: ignore[arg-type]


def test_a_message_is_what_its_sender_said() -> None:
    (first, second), _ = messages(('text', 'k', {'run': 7}, None), (b'', None, None, None))
    assert (first.value, first.key, first.headers) == ('text', 'k', {'run': 7})
    assert (second.value, second.key, second.headers) == (b'', None, {})
    assert (first.id, second.id) == (('p', 2, 100), ('p', 2, 101))
    assert first.producer == 'p'
    assert bytes(first.data) == b'\xa4text'
    assert first.data.readonly
    assert 0 <= first.age < 60
    assert first.age <= time.time()


def test_a_message_knows_whether_it_came_before() -> None:
    (fresh,), _ = messages((1, None, None, None))
    (again,), _ = messages((1, None, None, None), deliveries=3)
    assert (fresh.deliveries, fresh.redelivered) == (1, False)
    assert (again.deliveries, again.redelivered) == (3, True)


def test_a_payload_that_cannot_be_decoded_raises_when_it_is_asked_for() -> None:
    batch = OpenBatch()
    batch.add(b'\xc1', (1, None, None, None, None))
    packed = Packer('p', 1, CHANNEL, None).pack(batch)
    opened = Unpacker(CHANNEL, None, 100).open(packed)
    message = Message(Reader(), Holding(Delivery(packed), opened), 0)  # type: ignore[arg-type]
    with pytest.raises(CodecError):
        _ = message.value
    assert bytes(message.data) == b'\xc1'


def test_a_message_tells_its_reader_what_was_decided() -> None:
    (message,), reader = messages((1, None, None, 1))
    message.ack()
    message.nack(0.5, 'later')
    message.reject('never')
    message.in_progress()
    message.reply('answer')
    expected = [('settle', 0), ('retry', 0, 0.5, 'later'), ('reject', 0, 'never')]
    assert reader.asked == [*expected, ('extend',), ('reply', 0, 'answer')]


def test_only_a_request_has_a_reply() -> None:
    (message,), reader = messages((1, None, None, None))
    with pytest.raises(UsageError, match='request'):
        message.reply(2)
    assert reader.asked == []


def test_a_repr_shows_no_payload() -> None:
    (message,), _ = messages(('confidential', None, None, None))
    assert repr(message) == "Message(producer='p', epoch=2, seq=100, bytes=13)"
