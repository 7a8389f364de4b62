"""From messages to a batch and back: index, seal or checksum, head."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import xxhash

from parsl_streaming import wire
from parsl_streaming.errors import IntegrityError
from parsl_streaming.index import Index
from parsl_streaming.index import IndexBuilder
from parsl_streaming.sealing import TAG_BYTES
from parsl_streaming.sealing import Opener
from parsl_streaming.sealing import Sealer
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Buffer
from parsl_streaming.seam import Flag

_EMPTY = IndexBuilder().encode()


def channel_id(session: str, channel: str) -> bytes:
    """Eight bytes that stand for a channel of a session in every head."""
    return xxhash.xxh3_64_digest(f'{session}/{channel}'.encode())


class OpenBatch:
    """A batch that still takes messages."""

    __slots__ = ('index', 'nbytes', 'opened', 'parts', 'sent')

    def __init__(self) -> None:
        self.parts: list[Buffer] = []
        self.index = IndexBuilder()
        self.nbytes = 0
        self.sent = 0.0
        self.opened = 0.0

    def add(self, data: Buffer, row: tuple[Any, ...]) -> None:
        """Append a message: its payload and (codec, meta, key, headers, ref)."""
        if not self.parts:
            self.sent = time.time()
            self.opened = time.monotonic()
        size = len(data)
        self.parts.append(data)
        self.index.add(size, row)
        self.nbytes += size

    def take(self, count: int) -> OpenBatch:
        """Move the oldest `count` messages into a batch of their own."""
        taken = OpenBatch()
        taken.sent, taken.opened = self.sent, self.opened
        taken.parts, self.parts = self.parts[:count], self.parts[count:]
        taken.index = self.index.take(count)
        taken.nbytes = sum(taken.index.lengths)
        self.nbytes -= taken.nbytes
        return taken

    def body(self) -> Buffer:
        """The payloads in a row; a single one is not copied."""
        return self.parts[0] if len(self.parts) == 1 else b''.join(self.parts)


class Packer:
    """Makes the batches of one sender: numbers, sequence numbers, seal.

    Args:
        sender: Producer name (a consumer's, for its replies and dead letters).
        epoch: Its incarnation.
        channel: Eight bytes that stand for the channel.
        secret: The channel's secret; `None` leaves batches unsealed.
    """

    def __init__(self, sender: str, epoch: int, channel: bytes, secret: bytes | None) -> None:
        self._sender = sender
        self._epoch = epoch
        self._channel = channel
        self._sealer = Sealer(secret, channel) if secret is not None else None
        self.number = 0
        self.seq = 0

    def pack(
        self, batch: OpenBatch, partition: int = 0, flags: Flag = Flag.NONE, floor: int = 0
    ) -> Batch:
        """Close an open batch."""
        made = self._make(
            batch.index.encode(),
            batch.body(),
            len(batch.parts),
            partition,
            flags,
            floor,
            batch.sent,
        )
        self.seq += len(batch.parts)
        return made

    def pack_end(self, flags: Flag, reason: str = '') -> Batch:
        """The END batch; with ABORT, the body says why."""
        body = reason.encode()
        return self._make(_EMPTY, body, 0, 0, flags | Flag.END, 0, time.time())

    def _make(
        self,
        index: bytes,
        body: Buffer,
        count: int,
        partition: int,
        flags: Flag,
        floor: int,
        sent: float,
    ) -> Batch:
        self.number += 1
        sealer = self._sealer
        salt = wire.NO_SALT
        if sealer is not None:
            salt = sealer.start(self.number, len(body))
            index = sealer.seal_index(index)
            flags |= Flag.SEALED
        header = wire.Header(
            flags,
            partition,
            self._epoch,
            count,
            self.number,
            self.seq,
            floor,
            sent,
            self._channel,
            salt,
            self._sender,
        )
        head = wire.encode_head(header, index, len(body) + (TAG_BYTES if sealer else 0))
        if sealer is not None:
            body = sealer.seal_body(body, head)
        return wire.make_batch(header, wire.checked(head, body, sealed=bool(sealer)), body)


@dataclass(slots=True)
class Opened:
    """A verified batch in clear."""

    header: wire.Header
    index: Index
    body: memoryview

    @property
    def starts(self) -> Sequence[int]:
        """Where each message begins in the body; one more entry for the end."""
        return self.index.starts


class Unpacker:
    """Verifies and opens the batches of one channel.

    Args:
        channel: Eight bytes that stand for the channel.
        secret: The channel's secret; `None` accepts unsealed batches only.
        max_bytes: Largest body that is opened, in bytes.
    """

    def __init__(self, channel: bytes, secret: bytes | None, max_bytes: int) -> None:
        self._channel = channel
        self._opener = Opener(secret, channel) if secret is not None else None
        self._max_bytes = max_bytes + TAG_BYTES

    def open(self, batch: Batch) -> Opened:
        """Verify a batch and open it.

        Raises:
            IntegrityError: Damaged, forged, of another channel, or too large.
        """
        header, index = wire.decode_header(batch.head, len(batch.body))
        if header.channel != self._channel or len(batch.body) > self._max_bytes:
            msg = f'batch {batch.number} of {batch.producer!r}: of another channel, or too large'
            raise IntegrityError(msg)
        clear_index, body = self._clear(header, index, batch)
        if header.count == 0:
            return Opened(header, Index(_EMPTY, 0, 0), body)
        return Opened(header, Index(clear_index, header.count, len(body)), body)

    def _clear(
        self, header: wire.Header, index: memoryview, batch: Batch
    ) -> tuple[Buffer, memoryview]:
        sealed = Flag.SEALED in header.flags
        if sealed != (self._opener is not None):
            msg = f'batch {batch.number} of {batch.producer!r}: sealed and unsealed ends are mixed'
            raise IntegrityError(msg)
        if self._opener is None:
            wire.verify_checksum(batch)
            return index, memoryview(batch.body).toreadonly()
        head = memoryview(batch.head)[:-8]
        clear, body = self._opener.open(header.salt, header.number, index, head, batch.body)
        return clear, memoryview(body)
