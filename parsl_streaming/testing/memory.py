"""An in-memory architecture, for tests of apps without Parsl, sockets or a broker.

Both ends must live in one process. It keeps every promise of the seam, and is
the smallest model of how to implement it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from parsl_streaming.errors import ChannelFull
from parsl_streaming.ledger import Ledger
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Delivery
from parsl_streaming.seam import EndContext
from parsl_streaming.seam import Flag
from parsl_streaming.seam import Provision
from parsl_streaming.seam import Room
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Durability
from parsl_streaming.spec import Pattern
from parsl_streaming.spec import Site


class _Stream:
    """What one producer's epoch left: unsettled batches, its END, replies for it."""

    def __init__(self, order: int) -> None:
        self.order = order
        self.ledger = Ledger()
        self.end: Batch | None = None
        self.replies: list[Batch] = []


class _Channel:
    """The shared state of a channel; every access holds `changed`."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.streams: dict[tuple[str, int], _Stream] = {}
        self.letters: list[Batch] = []

    def stream(self, batch: Batch) -> _Stream:
        return self.streams[batch.producer, batch.epoch]


class MemoryWriter:
    """The producer's end."""

    def __init__(self, end: EndContext, channel: _Channel) -> None:
        self._end = end
        self._channel = channel
        self._redelivered = 0
        with channel.changed:
            self._stream = _Stream(len(channel.streams))
            channel.streams[end.name, end.epoch] = self._stream

    @property
    def floor(self) -> int:
        """See `LinkWriter.floor`."""
        return self._stream.ledger.floor

    @property
    def safe(self) -> int:
        """See `LinkWriter.safe`."""
        return self._stream.ledger.floor - 1

    def room(self) -> Room:
        """See `LinkWriter.room`."""
        entries = self._stream.ledger.entries.values()
        spec = self._end.channel
        messages = spec.credit_messages - sum(entry.batch.count for entry in entries)
        nbytes = spec.credit_bytes - sum(entry.batch.nbytes for entry in entries)
        if not self._end.rendezvous.view.groups:
            return Room(0, 0, idle=False)
        return Room(max(0, messages), max(0, nbytes), idle=not entries)

    def write(self, batch: Batch, timeout: float) -> None:
        """See `LinkWriter.write`."""
        limit = time.monotonic() + timeout
        with self._channel.changed:
            while not batch.flags & Flag.END and not self._fits(batch):
                if not self._channel.changed.wait(min(0.1, limit - time.monotonic())):
                    if time.monotonic() >= limit:
                        msg = f'channel {self._end.channel.name!r}: no credit in {timeout:g} s'
                        raise ChannelFull(msg)
            if batch.flags & Flag.END:
                self._stream.end = batch
            self._stream.ledger.add(
                batch, [] if batch.flags & Flag.END else self._end.rendezvous.view.groups
            )
            self._channel.changed.notify_all()

    def _fits(self, batch: Batch) -> bool:
        room = self.room()
        return room.idle or (room.messages >= batch.count and room.nbytes >= batch.nbytes)

    def pump(self, timeout: float) -> None:
        """See `LinkWriter.pump`."""
        with self._channel.changed:
            if timeout and not self._stream.replies:
                self._channel.changed.wait(timeout)

    def replies(self) -> list[Batch]:
        """See `LinkWriter.replies`."""
        with self._channel.changed:
            replies, self._stream.replies = self._stream.replies, []
        return replies

    def statistics(self) -> dict[str, int]:
        """See `LinkWriter.statistics`."""
        entries = self._stream.ledger.entries.values()
        return {'redelivered': sum(n - 1 for e in entries for n in e.deliveries.values())}

    def close(self) -> None:
        """See `LinkWriter.close`."""


class MemoryReader:
    """The consumer's end."""

    def __init__(self, end: EndContext, channel: _Channel) -> None:
        self._end = end
        self._group = end.group
        self._channel = channel
        self._ended: set[tuple[str, int]] = set()

    def read(self, timeout: float) -> Delivery | None:
        """See `LinkReader.read`."""
        with self._channel.changed:
            delivery = next(self._ready(), None)
            if delivery is None and timeout > 0:
                self._channel.changed.wait(timeout)
                delivery = next(self._ready(), None)
            return delivery

    def _ready(self) -> Iterator[Delivery]:
        for key, stream in self._channel.streams.items():
            for number in stream.ledger.queue(self._group):
                if self._is_mine(stream.ledger.entries[number].batch):
                    entry = stream.ledger.hand_out(number, self._group, self._end.name)
                    count = entry.deliveries[self._group]
                    yield Delivery(entry.batch, count, entry.settled.get(self._group, 0))
            owed = any(self._group in entry.owed for entry in stream.ledger.entries.values())
            if stream.end is not None and not owed and key not in self._ended:
                self._ended.add(key)
                yield Delivery(stream.end)

    def _is_mine(self, batch: Batch) -> bool:
        if self._end.channel.pattern is not Pattern.SHUFFLE:
            return True
        holders = self._end.rendezvous.view.partitions.get(self._group, [])
        return bool(holders) and holders[batch.partition] == self._end.name

    def acknowledge(self, delivery: Delivery) -> None:
        """See `LinkReader.acknowledge`."""
        with self._channel.changed:
            ledger = self._channel.stream(delivery.batch).ledger
            ledger.settle(delivery.batch.number, self._group, self._end.name)
            self._channel.changed.notify_all()

    def mark(self, delivery: Delivery, settled: int) -> None:
        """See `LinkReader.mark`."""
        with self._channel.changed:
            ledger = self._channel.stream(delivery.batch).ledger
            ledger.mark(delivery.batch.number, self._group, self._end.name, settled)

    def release(self, delivery: Delivery, settled: int) -> None:
        """See `LinkReader.release`."""
        self.mark(delivery, settled)
        with self._channel.changed:
            ledger = self._channel.stream(delivery.batch).ledger
            ledger.take_back(delivery.batch.number, self._group, self._end.name)
            self._channel.changed.notify_all()

    def extend(self, delivery: Delivery) -> None:
        """Nothing to do: a reader of the same process does not fall silent."""

    def bury(self, delivery: Delivery, letter: Batch) -> None:
        """See `LinkReader.bury`."""
        with self._channel.changed:
            self._channel.letters.append(letter)

    def reply(self, delivery: Delivery, batch: Batch) -> None:
        """See `LinkReader.reply`."""
        with self._channel.changed:
            self._channel.stream(delivery.batch).replies.append(batch)
            self._channel.changed.notify_all()

    def pump(self) -> None:
        """See `LinkReader.pump`."""

    def statistics(self) -> dict[str, int]:
        """See `LinkReader.statistics`."""
        return {}

    def close(self) -> None:
        """See `LinkReader.close`; what was not settled goes to another reader."""
        with self._channel.changed:
            for stream in self._channel.streams.values():
                for number, group in stream.ledger.held_by(self._end.name):
                    stream.ledger.take_back(number, group, self._end.name)
            self._channel.changed.notify_all()


_CHANNELS: dict[tuple[str, str], _Channel] = {}
_LOCK = threading.Lock()


class MemoryStreaming:
    """The in-memory architecture; `parsl_streaming.testing.session` uses it."""

    name = 'memory'
    durabilities = frozenset({Durability.NONE})
    patterns = frozenset(Pattern)
    can_replay = False

    def refuse(self, channel: ChannelSpec, source: Site, target: Site) -> str | None:
        """See `Architecture.refuse`."""

    def provision(self, channel: ChannelSpec, source: Site, target: Site) -> Provision:
        """See `Architecture.provision`."""
        return Provision()

    def release(self, channel: ChannelSpec) -> None:
        """See `Architecture.release`."""
        with _LOCK:
            for key in [key for key in _CHANNELS if key[1] == channel.name]:
                del _CHANNELS[key]

    def dead_letters(self, channel: ChannelSpec) -> list[Batch]:
        """See `Architecture.dead_letters`."""
        found = [state for (_, name), state in _CHANNELS.items() if name == channel.name]
        return [letter for state in found for letter in state.letters]

    def _channel(self, end: EndContext) -> _Channel:
        with _LOCK:
            key: tuple[str, Any] = (end.secrets['session'], end.channel.name)
            return _CHANNELS.setdefault(key, _Channel())

    def open_writer(self, end: EndContext) -> MemoryWriter:
        """See `Architecture.open_writer`."""
        return MemoryWriter(end, self._channel(end))

    def open_reader(self, end: EndContext) -> MemoryReader:
        """See `Architecture.open_reader`."""
        return MemoryReader(end, self._channel(end))

    def close(self) -> None:
        """See `Architecture.close`."""
