"""An in-memory architecture: for tests of apps, and the smallest model of the seam.

Both ends live in one process. `parsl_streaming.seam` says what each method is for.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from parsl_streaming import ledger
from parsl_streaming import seam
from parsl_streaming import spec
from parsl_streaming.errors import ChannelFull
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Delivery


class _Stream(ledger.Ledger):
    """What one producer's epoch left: unsettled batches, its END, replies for it."""

    end: Batch | None = None

    def __init__(self) -> None:
        super().__init__()
        self.replies: list[Batch] = []


class _Channel(threading.Condition):
    """The shared state of a channel, and the lock of every access to it."""

    def __init__(self) -> None:
        super().__init__()
        self.streams: dict[tuple[str, int], _Stream] = defaultdict(_Stream)


class MemoryWriter(seam.LinkWriter):
    """The producer's end."""

    def __init__(self, end: seam.EndContext, channel: _Channel) -> None:
        self._end = end
        self._channel = channel
        with channel:
            self._stream = channel.streams[end.name, end.epoch]

    @property
    def floor(self) -> int:
        with self._channel:
            return self._stream.floor

    @property
    def safe(self) -> int:
        return self.floor - 1

    def _groups(self) -> list[str]:
        view = self._end.rendezvous.view
        groups = ledger.owing(view, self._end.channel.pattern)
        for group in {*view.groups} - {*groups}:
            self._stream.forgive(group)
        return groups

    def room(self) -> seam.Room:
        with self._channel:
            if not self._groups():
                return seam.Room(0, 0, idle=False)
            batches = [entry.batch for entry in self._stream.entries.values()]
        messages = self._end.channel.credit_messages - sum(batch.count for batch in batches)
        nbytes = self._end.channel.credit_bytes - sum(batch.nbytes for batch in batches)
        return seam.Room(max(0, messages), max(0, nbytes), idle=not batches)

    def _takes(self, batch: Batch) -> bool:
        messages, nbytes, idle = self.room()
        fits = messages >= batch.count and nbytes >= batch.nbytes
        return fits or idle or bool(batch.flags & seam.Flag.END)

    def write(self, batch: Batch, timeout: float) -> None:
        limit = time.monotonic() + timeout
        with self._channel:
            while not self._takes(batch):
                if (left := limit - time.monotonic()) <= 0:
                    msg = f'channel {self._end.channel.name!r}: no credit in {timeout:g} s'
                    raise ChannelFull(msg)
                self._channel.wait(min(0.1, left))
            if batch.flags & seam.Flag.END:
                self._stream.end = batch
            self._stream.add(batch, [] if self._stream.end else self._groups())
            self._channel.notify_all()

    def pump(self, timeout: float, *, waiting: bool = False) -> None:
        with self._channel:
            if timeout > 0 and not self._stream.replies:
                self._channel.wait(timeout)
            self._groups()

    def replies(self) -> list[Batch]:
        with self._channel:
            replies, self._stream.replies = self._stream.replies, []
            return replies

    def statistics(self) -> dict[str, int]:
        return {'redelivered': self._stream.returned}

    def close(self) -> None: ...


class MemoryReader(seam.LinkReader):
    """The consumer's end."""

    def __init__(self, end: seam.EndContext, channel: _Channel) -> None:
        self._end = end
        self._channel = channel
        self._ended: set[tuple[str, int]] = set()

    def read(self, timeout: float) -> Delivery | None:
        with self._channel:
            return self._channel.wait_for(lambda: next(self._ready(), None), timeout)

    def _ready(self) -> Iterator[Delivery]:
        group, name = self._end.group, self._end.name
        for key, stream in self._channel.streams.items():
            for number in stream.queue(group):
                if self._is_mine(stream, stream.entries[number].batch):
                    entry = stream.hand_out(number, group, name)
                    mask = entry.settled.get(group, 0)
                    yield Delivery(entry.batch, entry.deliveries[group], mask)
            owed = any(group in entry.owed for entry in stream.entries.values())
            if stream.end is not None and not owed and key not in self._ended:
                self._ended.add(key)
                yield Delivery(stream.end)

    def _is_mine(self, stream: _Stream, batch: Batch) -> bool:
        group, name = self._end.group, self._end.name
        holders = self._end.rendezvous.view.partitions.get(group)
        # A partition changes hands when its former holder is done: order is kept.
        return holders is None or (
            holders[batch.partition] == name and not stream.is_elsewhere(batch, group, name)
        )

    @contextmanager
    def _stream(self, delivery: Delivery) -> Iterator[_Stream]:
        with self._channel:
            yield self._channel.streams[delivery.batch.producer, delivery.batch.epoch]
            self._channel.notify_all()

    def acknowledge(self, delivery: Delivery) -> None:
        with self._stream(delivery) as stream:
            stream.settle(delivery.batch.number, self._end.group, self._end.name)

    def mark(self, delivery: Delivery, settled: int) -> None:
        with self._stream(delivery) as stream:
            stream.mark(delivery.batch.number, self._end.group, self._end.name, settled)

    def release(self, delivery: Delivery, settled: int) -> None:
        with self._stream(delivery) as stream:
            self.mark(delivery, settled)
            stream.take_back(delivery.batch.number, self._end.group, self._end.name)

    def extend(self, delivery: Delivery) -> None: ...

    def bury(self, delivery: Delivery, letter: Batch) -> None:
        self._end.rendezvous.bury(letter)

    def reply(self, delivery: Delivery, batch: Batch) -> None:
        with self._stream(delivery) as stream:
            stream.replies.append(batch)

    def close(self) -> None:
        with self._channel:
            for stream in self._channel.streams.values():
                stream.lose(self._end.name)
            self._channel.notify_all()


class MemoryStreaming(seam.Architecture):
    """The in-memory architecture."""

    name = 'memory'
    durabilities = frozenset({spec.Durability.NONE})
    patterns = frozenset(spec.Pattern)
    can_replay = False
    _channels: ClassVar[dict[str, _Channel]] = {}

    def provision(
        self, channel: spec.ChannelSpec, source: spec.Site, target: spec.Site
    ) -> seam.Provision:
        place = f'{id(self)}/{channel.name}'
        self._channels[place] = _Channel()
        return seam.Provision({'place': place})

    def release(self, channel: spec.ChannelSpec) -> None:
        self._channels.pop(f'{id(self)}/{channel.name}', None)

    def open_writer(self, end: seam.EndContext) -> MemoryWriter:
        return MemoryWriter(end, self._channels[end.public['place']])

    def open_reader(self, end: seam.EndContext) -> MemoryReader:
        return MemoryReader(end, self._channels[end.public['place']])
