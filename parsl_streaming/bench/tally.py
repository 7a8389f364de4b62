"""What consumers count: messages by producer and number, damage, and arrival times."""

from __future__ import annotations

import operator
import time
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final

from parsl_streaming.bench.plan import Plan
from parsl_streaming.bench.workloads import Marks
from parsl_streaming.seam import Buffer

_EVERY: Final = 61
"""One message in so many is compared in full; prime, so that every payload has its turn."""


class Tally:
    """Counts what one consumer receives.

    Producer p sends payload `p + n` (modulo their number) as its message n, so a
    message that claims a wrong number is found as well.

    Args:
        plan: What is measured.
        marks: What the payloads look like.
    """

    def __init__(self, plan: Plan, marks: Marks) -> None:
        self._marks = marks
        self._warm_up = plan.warm_up
        self._counts = [bytearray(count) for count in plan.counts]
        self._corrupt = 0
        self._messages = 0
        self._first = 0.0
        self._last = 0.0

    def take(self, producer: int, number: int, data: Buffer) -> None:
        """Count a message.

        Args:
            producer: Index of its producer.
            number: 0, 1, 2... per producer.
            data: Its payload.
        """
        if not self._marks.fit(producer + number, data, wholly=number % _EVERY == 0):
            self._corrupt += 1
        self._counts[producer][number] += 1
        if number >= self._warm_up:
            self._last = time.monotonic()
            self._first = self._first or self._last
            self._messages += 1

    def result(self) -> dict[str, Any]:
        """The counts, as msgpack values."""
        return {
            'counts': [bytes(counts) for counts in self._counts],
            'corrupt': self._corrupt,
            'messages': self._messages,
            'first': self._first,
            'last': self._last,
        }


def accounts(plan: Plan, consumers: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What consumers lost and what they got twice.

    Args:
        plan: What was measured.
        consumers: What their tallies say.
    """
    lost = duplicated = 0
    for producer in range(plan.producers):
        columns = [consumer['counts'][producer] for consumer in consumers]
        if not plan.pattern.is_broadcast:
            columns = [_sum(columns)]
        for column in columns:
            missing = column.count(0)
            lost += missing
            duplicated += sum(column) - (len(column) - missing)
    return {'lost': lost, 'duplicated': duplicated}


def _sum(columns: Sequence[bytes]) -> list[int]:
    total = list(columns[0])
    for column in columns[1:]:
        total = list(map(operator.add, total, column))
    return total
