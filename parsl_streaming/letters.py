"""Dead letters: messages that no consumer could deal with, kept with the reason."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parsl_streaming.codecs import Codecs
from parsl_streaming.errors import CodecError
from parsl_streaming.errors import IntegrityError
from parsl_streaming.membership import Channel
from parsl_streaming.packing import Opened
from parsl_streaming.packing import Unpacker
from parsl_streaming.packing import channel_id
from parsl_streaming.seam import Batch


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message in the dead-letter log.

    Attributes:
        id: Identity of the message: (producer, epoch, seq).
        reason: Why it is here.
        deliveries: How often it was delivered.
        key: The sender's key.
        headers: The sender's headers.
        data: The payload as it travelled.
        value: What was sent; `None` if it cannot be decoded.
    """

    id: tuple[str, int, int]
    reason: str
    deliveries: int
    key: Any
    headers: Mapping[str, Any]
    data: bytes
    value: Any


def open_letters(batches: Iterable[Batch], session: str, channel: Channel) -> list[DeadLetter]:
    """The letters in clear; one that cannot be opened is kept as it travelled."""
    spec = channel.spec
    unpacker = Unpacker(channel_id(session, spec.name), channel.secret, spec.max_message_bytes)
    codecs = Codecs(spec.name, pickle=spec.pickle)
    return [_open(batch, unpacker, codecs) for batch in batches]


def _open(batch: Batch, unpacker: Unpacker, codecs: Codecs) -> DeadLetter:
    try:
        opened = unpacker.open(batch)
    except IntegrityError as error:
        identity = (batch.producer, batch.epoch, -1)
        return DeadLetter(identity, str(error), 0, None, {}, bytes(batch.body), None)
    codec, meta, key, headers, origin = opened.index.row(0)
    producer, epoch, seq, deliveries, reason = origin
    data = bytes(opened.body)
    value = _decode(codecs, codec, meta, opened)
    return DeadLetter((producer, epoch, seq), reason, deliveries, key, headers or {}, data, value)


def _decode(codecs: Codecs, codec: int, meta: Any, opened: Opened) -> Any:
    try:
        return codecs.decode(codec, meta, opened.body)
    except CodecError:
        return None
