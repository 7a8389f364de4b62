"""The writer's outbox: open batches, credit, and what is safe."""

from __future__ import annotations

import time
from collections import deque
from typing import Any
from typing import Final

from parsl_streaming.errors import ChannelFull
from parsl_streaming.errors import ChannelTimeout
from parsl_streaming.packing import OpenBatch
from parsl_streaming.packing import Packer
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Buffer
from parsl_streaming.seam import LinkWriter
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import OnFull
from parsl_streaming.statistics import WriterStatistics

LARGE_BYTES: Final = 1 << 16
"""A message of so many bytes is a batch of its own, and is not copied into one."""
_POLL: Final = 0.1
_LOOK_AROUND: Final = 50e-6
"""Seconds between looks at what readers sent back, while messages come in a loop, at least."""
_LOOK_MOST: Final = 1e-3
"""Seconds between looks, at most."""
_LOOK_SHARE: Final = 4
"""Looks take a fifth of the time at most: a busy sender then fills batches, which cost less."""


class Outbox:
    """Collects messages into batches and gets the batches out.

    A batch leaves when it is full, when a reader is idle, or when it has waited
    for the channel's linger. Not thread-safe: the writer holds its lock.

    Args:
        channel: The channel.
        link: Where batches go.
        packer: Makes them.
    """

    def __init__(self, channel: ChannelSpec, link: LinkWriter, packer: Packer) -> None:
        self.link = link
        self.packer = packer
        self.statistics = WriterStatistics()
        self._channel = channel
        self._most_messages = channel.batch_messages
        self._most_bytes = channel.batch_bytes
        self._open: dict[int, OpenBatch] = {}
        self._unwritten: Batch | None = None
        self._look_at = 0.0
        self._marks: deque[tuple[int, int]] = deque()
        self._safe = 0

    def add(self, partition: int, data: Buffer, row: tuple[Any, ...], limit: float) -> int:
        """Take a message, waiting for credit until `limit` (monotonic time).

        Returns:
            The message's sequence number (exact on channels of one partition).

        Raises:
            ChannelFull: No credit in time; the message was not taken.
        """
        size = len(data)
        batch = self._open.get(partition)
        if batch is None or self._is_full(batch, size):
            self._open.setdefault(partition, OpenBatch())
            self._make_space(partition, size, limit)
            batch = self._open[partition]
        batch.add(data, row)
        seq = self.packer.seq + len(batch.parts) - 1
        self.statistics.messages += 1
        self.statistics.nbytes += size
        if (now := time.perf_counter()) >= self._look_at or self._is_full(batch, 0):
            self.advance()
            done = time.perf_counter()
            pause = max(_LOOK_AROUND, _LOOK_SHARE * (done - now))
            self._look_at = done + min(pause, _LOOK_MOST)
        return seq

    def _is_full(self, batch: OpenBatch, size: int) -> bool:
        """Whether the batch must go before `size` bytes more; a large message goes alone."""
        if size >= LARGE_BYTES or (batch.nbytes >= LARGE_BYTES and len(batch.parts) == 1):
            return len(batch.parts) > 0
        return self._is_crowded(batch, size)

    def _is_crowded(self, batch: OpenBatch, size: int) -> bool:
        count = len(batch.parts)
        if batch.nbytes + size >= self._most_bytes:
            return count > 0
        return count >= self._most_messages

    def _make_space(self, partition: int, size: int, limit: float) -> None:
        """Get a full batch out of the way, by waiting for credit or by dropping."""
        if self._channel.on_full is OnFull.DROP_OLDEST:
            self.advance()
            batch = self._open[partition]
            while self._is_crowded(batch, size):
                batch.take(1)
                self.statistics.dropped += 1
            return
        while self._is_full(self._open[partition], size):
            self._push(limit)
            room = self.link.room()
            while room.messages == 0 and (left := limit - time.monotonic()) > 0:
                self.link.pump(min(_POLL, left), waiting=True)
                room = self.link.room()
            self._pack(partition, room.messages)
            self._push(limit)

    def _pack(self, partition: int, most: int) -> None:
        """Close a batch of at most so many messages: no more than a reader has room for."""
        batch = self._open[partition]
        if 0 < most < len(batch.parts):
            batch = batch.take(most)
        else:
            self._open[partition] = OpenBatch()
        self._unwritten = self.packer.pack(batch, partition, floor=self.link.floor)
        if not self.waiting:
            self._marks.append((self.packer.number, self.statistics.messages))

    @property
    def waiting(self) -> bool:
        """Whether messages wait in a batch that has not left."""
        return any(batch.parts for batch in self._open.values())

    def _push(self, limit: float) -> None:
        """Write the packed batch, if there is one; it stays ours if there is no credit."""
        if self._unwritten is None:
            return
        started = time.monotonic()
        self.statistics.first = self.statistics.first or time.time()
        try:
            self.link.write(self._unwritten, max(0.0, limit - started))
        finally:
            self.statistics.blocked += time.monotonic() - started
        self.statistics.batches += 1
        self.statistics.last = time.time()
        self._unwritten = None

    def advance(self, *, everything: bool = False) -> None:
        """Take what came back, and write what is due, without waiting.

        Args:
            everything: Close batches that are not full, even if no reader is idle.
        """
        self.link.pump(0.0, waiting=self._unwritten is not None or self.waiting)
        try:
            self._push(0.0)
            for partition, batch in list(self._open.items()):
                self._advance(partition, batch, everything=everything)
        except ChannelFull:
            return

    def _advance(self, partition: int, batch: OpenBatch, *, everything: bool) -> None:
        while batch.parts:
            room = self.link.room()
            due = room.idle or everything or self._is_full(batch, 0)
            if not due or room.messages == 0:
                return
            self._pack(partition, room.messages)
            self._push(0.0)
            batch = self._open[partition]

    def overdue(self) -> bool:
        """Whether a batch has waited for the channel's linger."""
        due = time.monotonic() - self._channel.linger
        return any(batch.parts and batch.opened <= due for batch in self._open.values())

    @property
    def busy(self) -> bool:
        """Whether something is not yet safe."""
        return self.waiting or self.link.safe < self.packer.number

    def is_safe(self, position: int) -> bool:
        """Whether the first `position` messages are safe."""
        while self._marks and self._marks[0][0] <= self.link.safe:
            self._safe = self._marks.popleft()[1]
        return self._safe >= position

    def flush(self, limit: float) -> None:
        """Write everything and wait until it is safe.

        Raises:
            ChannelTimeout: Not before `limit` (monotonic time).
        """
        try:
            self._push(limit)
            for partition in list(self._open):
                while self._open[partition].parts:
                    self._pack(partition, self.link.room().messages)
                    self._push(limit)
        except ChannelFull as error:
            raise ChannelTimeout(str(error)) from error
        while self.link.safe < self.packer.number:
            if time.monotonic() >= limit:
                missing = self.packer.number - self.link.safe
                msg = (
                    f'channel {self._channel.name!r}: not acknowledged, but kept: {missing} '
                    f'batch{"es" * (missing > 1)}; are its readers running?'
                )
                raise ChannelTimeout(msg)
            self.link.pump(min(_POLL, max(0.0, limit - time.monotonic())))
