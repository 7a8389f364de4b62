"""How much a reader takes at once."""

from __future__ import annotations

import time
from typing import Final

FETCH_BYTES: Final = 4 << 20
FETCH_BATCHES: Final = 64
FETCH_SECONDS: Final = 0.05
"""A reader takes no more at once than it works off in this time: the rest is for the others."""
_SMOOTHING: Final = 0.3


class Pace:
    """How many batches a reader should take at once."""

    def __init__(self) -> None:
        self._seconds = FETCH_SECONDS
        self._nbytes = float(FETCH_BYTES)
        self._handed_at: float | None = None

    def asked(self) -> None:
        """The reader asks for the next batch."""
        if self._handed_at is not None:
            self._seconds += _SMOOTHING * (time.monotonic() - self._handed_at - self._seconds)
            self._handed_at = None

    def handed(self, nbytes: int) -> None:
        """A batch was handed out."""
        self._handed_at = time.monotonic()
        self._nbytes += _SMOOTHING * (nbytes - self._nbytes)

    def count(self, streams: int) -> int:
        """Batches to fetch from each of so many streams."""
        by_time = FETCH_SECONDS / max(self._seconds, 1e-6)
        by_bytes = FETCH_BYTES / max(self._nbytes, 1.0)
        return max(1, int(min(by_time, by_bytes, FETCH_BATCHES) / streams))
