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

_POLL: Final = 0.1
_LOOK_AROUND: Final = 50e-6
"""Seconds between looks at what readers sent back, while messages come in a loop."""


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
        self._open: dict[int, OpenBatch] = {}
        self._unwritten: Batch | None = None
        self._most = channel.batch_messages
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
            batch = self._new_batch(partition, size, limit)
        batch.add(data, row)
        seq = self.packer.seq + len(batch.parts) - 1
        self.statistics.messages += 1
        self.statistics.nbytes += size
        if (now := time.perf_counter()) >= self._look_at or self._is_full(batch, 0):
            self._look_at = now + _LOOK_AROUND
            self.link.pump(0.0)
            self.advance()
        return seq

    def _is_full(self, batch: OpenBatch, size: int) -> bool:
        count = len(batch.parts)
        if count >= self._most:
            return True
        return count > 0 and batch.nbytes + size >= self._channel.batch_bytes

    def _new_batch(self, partition: int, size: int, limit: float) -> OpenBatch:
        """Get the full batch out of the way, by waiting for credit or by dropping."""
        if self._channel.on_full is OnFull.DROP_OLDEST:
            self._drop(partition, size)
            return self._open.setdefault(partition, OpenBatch())
        self._push(limit)
        if partition in self._open:
            self._pack(partition)
            self._push(limit)
        batch = self._open[partition] = OpenBatch()
        return batch

    def _drop(self, partition: int, size: int) -> None:
        self.link.pump(0.0)
        self.advance()
        batch = self._open.get(partition)
        while batch and self._is_full(batch, size):
            batch.drop_first()
            self.statistics.dropped += 1

    def _pack(self, partition: int) -> None:
        batch = self._open.pop(partition)
        self._unwritten = self.packer.pack(batch, partition, floor=self.link.floor)
        if not any(other.parts for other in self._open.values()):
            self._marks.append((self.packer.number, self.statistics.messages))

    def _push(self, limit: float) -> None:
        """Write the packed batch, if there is one; it stays ours if there is no credit."""
        if self._unwritten is None:
            return
        started = time.monotonic()
        try:
            self.link.write(self._unwritten, max(0.0, limit - started))
        finally:
            self.statistics.blocked += time.monotonic() - started
        self.statistics.batches += 1
        self.statistics.last = time.time()
        self.statistics.first = self.statistics.first or self.statistics.last
        self._unwritten = None

    def advance(self, *, everything: bool = False) -> None:
        """Write what is due, without waiting.

        Args:
            everything: Close batches that are not full, even if no reader is idle.
        """
        room = self.link.room()
        self._most = min(self._channel.batch_messages, max(1, room.messages))
        try:
            self._push(0.0)
            for partition, batch in list(self._open.items()):
                if batch.parts and (room.idle or everything or self._is_full(batch, 0)):
                    self._pack(partition)
                    self._push(0.0)
        except ChannelFull:
            return

    def overdue(self) -> bool:
        """Whether a batch has waited for the channel's linger."""
        due = time.monotonic() - self._channel.linger
        return any(batch.parts and batch.opened <= due for batch in self._open.values())

    @property
    def busy(self) -> bool:
        """Whether something is not yet safe."""
        waiting = any(batch.parts for batch in self._open.values())
        return waiting or self.link.safe < self.packer.number

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
            for partition in [p for p, batch in self._open.items() if batch.parts]:
                self._pack(partition)
                self._push(limit)
        except ChannelFull as error:
            raise ChannelTimeout(str(error)) from error
        while self.link.safe < self.packer.number:
            if time.monotonic() >= limit:
                missing = self.packer.number - self.link.safe
                msg = (
                    f'channel {self._channel.name!r}: {missing} batches '
                    'are not acknowledged; are its readers running? (they are kept)'
                )
                raise ChannelTimeout(msg)
            self.link.pump(min(_POLL, max(0.0, limit - time.monotonic())))
