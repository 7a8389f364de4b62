"""A histogram of latencies with a bounded relative error, mergeable across processes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Final

_BUCKETS_PER_DOUBLING: Final = 16
_SMALLEST: Final = 1e-6


class Latencies:
    """Counts latencies in buckets a sixteenth of a doubling wide (error below 4.5 %).

    Args:
        counts: Bucket counts to start from, as `as_dict` gives them.
    """

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._counts: Counter[int] = Counter(counts or {})

    def add(self, seconds: float, count: int = 1) -> None:
        """Count messages of this latency in seconds (clocks may disagree: below 1 us is 1 us)."""
        ratio = max(seconds, _SMALLEST) / _SMALLEST
        self._counts[math.ceil(math.log2(ratio) * _BUCKETS_PER_DOUBLING)] += count

    def merge(self, others: Iterable[Latencies]) -> Latencies:
        """A histogram of these and the others together."""
        merged = Latencies(self._counts)
        for other in others:
            merged._counts.update(other._counts)  # noqa: SLF001 (same class)
        return merged

    def quantile(self, q: float) -> float | None:
        """The upper bound in seconds of quantile q (0 to 1); `None` if nothing was counted."""
        total = self._counts.total()
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= q * total:
                return float(_SMALLEST * 2 ** (bucket / _BUCKETS_PER_DOUBLING))
        return None

    def as_dict(self) -> dict[int, int]:
        """Bucket counts, msgpack-able."""
        return dict(self._counts)
