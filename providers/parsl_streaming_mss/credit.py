"""What a writer has in flight: written, and not yet settled by the slowest group."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of batches, and what they hold.

    Attributes:
        batches: Number of batches.
        messages: Number of messages.
        nbytes: Bytes of heads and bodies.
    """

    batches: int = 0
    messages: int = 0
    nbytes: int = 0

    def __add__(self, other: Self) -> Amount:
        return Amount(
            self.batches + other.batches,
            self.messages + other.messages,
            self.nbytes + other.nbytes,
        )

    def __sub__(self, other: Self) -> Amount:
        return Amount(
            self.batches - other.batches,
            self.messages - other.messages,
            self.nbytes - other.nbytes,
        )

    def least(self, other: Self) -> Amount:
        """The smaller of each, but nothing below zero."""
        return Amount(
            max(0, min(self.batches, other.batches)),
            max(0, min(self.messages, other.messages)),
            max(0, min(self.nbytes, other.nbytes)),
        )


class Ledger:
    """Counts what is in flight in two ways, each an upper bound, and takes the lower.

    The floor of each partition (everything below it is settled by every group) is
    always right, but one batch that is held long keeps all later ones counted. What
    each group says it has settled counts batches settled out of order as well, but
    knows nothing of batches that a group skipped.
    """

    def __init__(self) -> None:
        self._open: dict[int, deque[tuple[int, Amount]]] = {}
        self._written = Amount()
        self._above_floor = Amount()
        self._settled: dict[str, Amount] = {}
        self._next = 1

    def wrote(self, partition: int, number: int, amount: Amount) -> None:
        """Enter a batch."""
        self._open.setdefault(partition, deque()).append((number, amount))
        self._written += amount
        self._above_floor += amount
        self._next = number + 1

    def settled_below(self, partition: int, number: int) -> None:
        """Every batch of the partition with a lower number is settled by every group."""
        entries = self._open.get(partition)
        while entries and entries[0][0] < number:
            self._above_floor -= entries.popleft()[1]

    def settled_by(self, groups: Sequence[str], totals: Mapping[str, Amount]) -> None:
        """Take over what each group has settled so far.

        Args:
            groups: Every group that the channel has.
            totals: What some of them have settled.
        """
        self._settled = {group: totals.get(group, Amount()) for group in {*groups, *totals}}

    @property
    def in_flight(self) -> Amount:
        """What is written and not settled by the slowest group."""
        result = self._above_floor
        lags = [self._written - settled for settled in self._settled.values()]
        if lags:
            slowest = Amount(
                max(lag.batches for lag in lags),
                max(lag.messages for lag in lags),
                max(lag.nbytes for lag in lags),
            )
            result = result.least(slowest)
        return result

    @property
    def floor(self) -> int:
        """Every batch with a lower number is settled by every group."""
        lowest = [entries[0][0] for entries in self._open.values() if entries]
        return min(lowest, default=self._next)
