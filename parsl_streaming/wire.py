"""The bytes of a batch: a fixed prefix, the producer's name, the index, the body.

Layout of the head (little endian)::

    magic    4s   b'PSB1'
    flags    u16  see `Flag`
    partition u16
    epoch    u32
    count    u32  messages in the batch
    number   u64  1, 2, 3... per producer and epoch
    seq      u64  sequence number of the first message
    floor    u64  batches below this number are settled
    sent     f64  Unix time at which the first message was sent
    channel  8s   which channel the batch belongs to
    salt     16s  of the sender's key; zero when not sealed
    name_len u16, index_len u32, body_len u64
    name     name_len bytes, UTF-8
    index    index_len bytes (ciphertext when sealed)
    check    u64  XXH3 of head and body when not sealed, else 0

The decoder trusts nothing: every length is compared with what is there before
anything is allocated.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import xxhash

from parsl_streaming.errors import IntegrityError
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Buffer
from parsl_streaming.seam import Flag

MAGIC: Final = b'PSB1'
MAX_BATCH_MESSAGES: Final = 1 << 16
NO_SALT: Final = bytes(16)
_PREFIX: Final = struct.Struct('<4sHHIIQQQd8s16sHIQ')
_CHECK: Final = struct.Struct('<Q')
_KNOWN_FLAGS: Final = sum(Flag)
_FLAGS: Final = tuple(Flag(value) for value in range(_KNOWN_FLAGS + 1))  # Flag() is slow


@dataclass(slots=True)
class Header:
    """The fields of a batch's head.

    Attributes:
        flags: What the batch is.
        partition: Partition of a shuffle channel, else 0.
        epoch: Incarnation of the producer.
        count: Number of messages.
        number: The batch's number, from 1.
        seq: Sequence number of its first message.
        floor: Every batch of the producer below this number is settled.
        sent: Unix time, in seconds, at which its first message was sent.
        channel: Eight bytes that stand for the channel.
        salt: Salt of the sender's key; zeros when not sealed.
        producer: The producer's name.
    """

    flags: Flag
    partition: int
    epoch: int
    count: int
    number: int
    seq: int
    floor: int
    sent: float
    channel: bytes
    salt: bytes
    producer: str


def encode_head(header: Header, index: Buffer, body_len: int) -> bytes:
    """The head of a batch, without the check that `checked` appends.

    Args:
        header: The fields.
        index: Encoded index (ciphertext when sealed).
        body_len: Length of the body in bytes (with the tag when sealed).
    """
    name = header.producer.encode()
    prefix = _PREFIX.pack(
        MAGIC,
        header.flags,
        header.partition,
        header.epoch,
        header.count,
        header.number,
        header.seq,
        header.floor,
        header.sent,
        header.channel,
        header.salt,
        len(name),
        len(index),
        body_len,
    )
    return b''.join((prefix, name, index))


def checked(head: bytes, body: Buffer, *, sealed: bool) -> bytes:
    """The head with its check: an XXH3 of head and body, or 0 when a tag does that job."""
    return head + _CHECK.pack(0 if sealed else _checksum(head, body))


def _checksum(head: Buffer, body: Buffer) -> int:
    return xxhash.xxh3_64_intdigest(body, seed=xxhash.xxh3_64_intdigest(head))


def verify_checksum(batch: Batch) -> None:
    """Compare an unsealed batch with its checksum.

    Raises:
        IntegrityError: It was damaged.
    """
    head = memoryview(batch.head)
    if _CHECK.unpack(head[-_CHECK.size :])[0] != _checksum(head[: -_CHECK.size], batch.body):
        msg = f'batch {batch.number} of {batch.producer!r}: checksum differs; not delivered'
        raise IntegrityError(msg)


def decode_header(head: Buffer, body_len: int) -> tuple[Header, memoryview]:
    """Parse a head.

    Args:
        head: The whole head.
        body_len: Length of the body that came with it, in bytes.

    Returns:
        The fields, and a view of the index.

    Raises:
        IntegrityError: The bytes are no head of this protocol.
    """
    view = memoryview(head)
    if len(view) < _PREFIX.size + _CHECK.size:
        raise IntegrityError(_not_a_batch(f'{len(view)} bytes are too few for a head'))
    fields = _PREFIX.unpack_from(view)
    name_len, index_len, stated = fields[11:]
    if fields[0] != MAGIC or fields[1] & ~_KNOWN_FLAGS:
        raise IntegrityError(_not_a_batch('wrong magic or flags'))
    if len(view) != _PREFIX.size + name_len + index_len + _CHECK.size or stated != body_len:
        raise IntegrityError(_not_a_batch('lengths do not add up'))
    if fields[4] > MAX_BATCH_MESSAGES:
        raise IntegrityError(_not_a_batch(f'{fields[4]} messages in one batch'))
    end = _PREFIX.size + name_len
    try:
        name = str(view[_PREFIX.size : end], 'utf-8')
    except UnicodeDecodeError:
        raise IntegrityError(_not_a_batch('the producer is not UTF-8')) from None
    header = Header(_FLAGS[fields[1]], *fields[2:11], name)  # type: ignore[call-arg] # nine fields
    return header, view[end : end + index_len]


def _not_a_batch(why: str) -> str:
    return f'not a batch of this protocol: {why}; check that both ends run the same version'


def decode_batch(head: Buffer, body: Buffer) -> Batch:
    """What a link needs to know of the bytes it received; authenticity is checked above it.

    Raises:
        IntegrityError: The bytes are no batch of this protocol.
    """
    header, _ = decode_header(head, len(body))
    return make_batch(header, head, body)


def make_batch(header: Header, head: Buffer, body: Buffer) -> Batch:
    """A batch from its fields and bytes."""
    return Batch(
        header.producer,
        header.epoch,
        header.number,
        header.count,
        header.partition,
        header.flags,
        head,
        body,
    )
