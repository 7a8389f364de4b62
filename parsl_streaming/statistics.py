"""Counters of the ends, and what they say of a channel together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from parsl_streaming.latency import Latencies


@dataclass(slots=True)
class WriterStatistics:
    """What a writer did.

    Attributes:
        messages: Messages accepted by `send`.
        nbytes: Their payload, in bytes.
        batches: Batches written.
        dropped: Messages dropped under `on_full = "drop-oldest"`.
        redelivered: Batches handed out again after a consumer died.
        replies: Replies received.
        blocked: Seconds spent waiting for credit.
        first: Unix time of the first message, or 0.
        last: Unix time of the last batch written, or 0.
    """

    messages: int = 0
    nbytes: int = 0
    batches: int = 0
    dropped: int = 0
    redelivered: int = 0
    replies: int = 0
    blocked: float = 0.0
    first: float = 0.0
    last: float = 0.0


@dataclass(slots=True)
class ReaderStatistics:
    """What a reader did.

    Attributes:
        messages: Messages handed out for the first time.
        nbytes: Their payload, in bytes.
        batches: Batches received.
        acknowledged: Messages settled.
        duplicates: Batches dropped because they had come before.
        redelivered: Messages handed out that had been delivered before.
        damaged: Batches dropped because they could not be verified.
        dead_letters: Messages put into the dead-letter log.
        first: Unix time of the first batch, or 0.
        last: Unix time of the last batch, or 0.
        latencies: From the first `send` of a batch to its arrival at the reader's program.
    """

    messages: int = 0
    nbytes: int = 0
    batches: int = 0
    acknowledged: int = 0
    duplicates: int = 0
    redelivered: int = 0
    damaged: int = 0
    dead_letters: int = 0
    first: float = 0.0
    last: float = 0.0
    latencies: Latencies = field(default_factory=Latencies)


def as_dict(statistics: WriterStatistics | ReaderStatistics) -> dict[str, Any]:
    """The counters as msgpack-able values."""
    if isinstance(statistics, WriterStatistics):
        return asdict(statistics)
    plain = {name: getattr(statistics, name) for name in ReaderStatistics.__slots__}
    return plain | {'latencies': statistics.latencies.as_dict()}


@dataclass(slots=True)
class ChannelStatistics:
    """A channel as all of its ends saw it.

    Attributes:
        writers: Each writer's counters, by producer name and epoch.
        readers: Each reader's counters, by consumer name and epoch.
    """

    writers: dict[str, WriterStatistics] = field(default_factory=dict)
    readers: dict[str, ReaderStatistics] = field(default_factory=dict)

    def record(self, role: str, end: str, values: dict[str, Any]) -> None:
        """Take the newest counters of one end, as `as_dict` gave them."""
        if role == 'writer':
            self.writers[end] = WriterStatistics(**values)
        else:
            latencies = Latencies(values['latencies'])
            self.readers[end] = ReaderStatistics(**{**values, 'latencies': latencies})

    @property
    def messages(self) -> int:
        """Messages that readers received for the first time."""
        return sum(reader.messages for reader in self.readers.values())

    @property
    def nbytes(self) -> int:
        """Bytes that readers received for the first time."""
        return sum(reader.nbytes for reader in self.readers.values())

    @property
    def sent(self) -> int:
        """Messages that writers accepted."""
        return sum(writer.messages for writer in self.writers.values())

    @property
    def redelivered(self) -> int:
        """Messages handed out again."""
        return sum(reader.redelivered for reader in self.readers.values())

    @property
    def duplicates(self) -> int:
        """Batches that came twice and were dropped."""
        return sum(reader.duplicates for reader in self.readers.values())

    @property
    def dropped(self) -> int:
        """Messages dropped by declared policy."""
        return sum(writer.dropped for writer in self.writers.values())

    @property
    def dead_letters(self) -> int:
        """Messages put into the dead-letter log."""
        return sum(reader.dead_letters for reader in self.readers.values())

    @property
    def damaged(self) -> int:
        """Batches that could not be verified."""
        return sum(reader.damaged for reader in self.readers.values())

    @property
    def seconds(self) -> float:
        """From the first message sent to the last batch received, by the ends' clocks."""
        starts = [w.first for w in self.writers.values() if w.first]
        ends = [r.last for r in self.readers.values() if r.last]
        return max(ends) - min(starts) if starts and ends else 0.0

    @property
    def latencies(self) -> Latencies:
        """Every reader's latencies together."""
        return Latencies().merge(_latencies(self.readers.values()))


def _latencies(readers: Iterable[ReaderStatistics]) -> Iterable[Latencies]:
    return [reader.latencies for reader in readers]
