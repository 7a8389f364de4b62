"""The ledger: what a writer without a broker keeps until every group has settled it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field

from parsl_streaming.seam import Batch
from parsl_streaming.seam import View
from parsl_streaming.spec import Pattern


@dataclass(slots=True)
class Entry:
    """A batch, and what each group still owes.

    Attributes:
        batch: The batch.
        owed: Groups that have not settled it.
        holders: For each group, the reader that has it now.
        deliveries: For each group, how often it was handed out.
        settled: For each group, a bitmask of the messages that need no redelivery.
    """

    batch: Batch
    owed: set[str]
    holders: dict[str, str] = field(default_factory=dict)
    deliveries: dict[str, int] = field(default_factory=dict)
    settled: dict[str, int] = field(default_factory=dict)


def owing(view: View, pattern: Pattern) -> list[str]:
    """The groups that owe an answer to a new batch, sorted.

    A reader of a broadcast is a group of its own: when it left, nobody comes for its share.
    """
    if not pattern.is_broadcast:
        return view.groups
    return sorted({m.group for m in view.of('reader') if m.state not in ('closed', 'failed')})


class Ledger:
    """Unsettled batches by number, and for each group the queue of those to hand out.

    Attributes:
        entries: The batches.
        returned: How many came back from a reader, for another.
    """

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.returned = 0
        self._queues: dict[str, deque[int]] = {}
        self._last = 0

    @property
    def floor(self) -> int:
        """Every lower number is settled by every group."""
        return next(iter(self.entries), self._last + 1)

    def add(self, batch: Batch, groups: Iterable[str]) -> None:
        """Keep a batch for these groups."""
        entry = Entry(batch, set(groups))
        self._last = batch.number
        if entry.owed:
            self.entries[batch.number] = entry
            for group in entry.owed:
                self.queue(group).append(batch.number)

    def queue(self, group: str) -> deque[int]:
        """Numbers to hand out to the group, oldest first."""
        return self._queues.setdefault(group, deque())

    def hand_out(self, number: int, group: str, reader: str) -> Entry:
        """The head of the group's queue goes to this reader."""
        self.queue(group).remove(number)
        entry = self.entries[number]
        entry.holders[group] = reader
        entry.deliveries[group] = entry.deliveries.get(group, 0) + 1
        return entry

    def settle(self, number: int, group: str, reader: str) -> Entry | None:
        """The group is done with a batch; `None` if this reader no longer holds it."""
        entry = self.entries.get(number)
        if entry is None or entry.holders.get(group) != reader:
            return None
        self._close(number, entry, group)
        return entry

    def mark(self, number: int, group: str, reader: str, settled: int) -> None:
        """Replace the record of messages that need no redelivery."""
        entry = self.entries.get(number)
        if entry is not None and entry.holders.get(group) == reader:
            entry.settled[group] = settled

    def take_back(self, number: int, group: str, reader: str) -> Entry | None:
        """The reader gave a batch back: next in line for another."""
        entry = self.entries.get(number)
        if entry is None or entry.holders.get(group) != reader:
            return None
        del entry.holders[group]
        self.returned += 1
        queue = self.queue(group)
        queue.append(number)
        self._queues[group] = deque(sorted(queue))
        return entry

    def held_by(self, reader: str) -> list[tuple[int, str]]:
        """(number, group) of everything a reader holds."""
        return [
            (number, group)
            for number, entry in self.entries.items()
            for group, holder in entry.holders.items()
            if holder == reader and group in entry.owed
        ]

    def is_elsewhere(self, batch: Batch, group: str, reader: str) -> bool:
        """Whether another reader of the group holds a batch of the same partition."""
        return any(
            entry.batch.partition == batch.partition and entry.holders.get(group, reader) != reader
            for entry in self.entries.values()
        )

    def lose(self, reader: str) -> None:
        """The reader is gone: take back all that it holds."""
        for number, group in self.held_by(reader):
            self.take_back(number, group, reader)

    def forgive(self, group: str) -> None:
        """Nobody of the group will come any more: it owes nothing."""
        self._queues.pop(group, None)
        for number, entry in list(self.entries.items()):
            if group in entry.owed:
                self._close(number, entry, group)

    def _close(self, number: int, entry: Entry, group: str) -> None:
        entry.owed.discard(group)
        entry.holders.pop(group, None)
        if not entry.owed:
            del self.entries[number]
