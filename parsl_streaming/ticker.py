"""The background thread of one end."""

from __future__ import annotations

import threading
from typing import Final
from typing import Protocol

_QUICK_SECONDS: Final = 0.001
_QUICK_TICKS: Final = 10
_BUSY_SECONDS: Final = 0.01
_IDLE_SECONDS: Final = 0.1


class Ticked(Protocol):
    """An end as its ticker sees it."""

    def tick(self) -> bool:
        """Do what is due; says whether more is waiting."""


class Ticker:
    """Calls an end's `tick` in a thread of its own, often while something waits.

    Most often just after it was woken: two ends that meet say a few words to each other
    before the first message, each of which waits for a tick.

    A thread for each end, so that a slow one keeps no other waiting.

    Args:
        end: The end.
        name: What the thread is called.
    """

    def __init__(self, end: Ticked, name: str) -> None:
        self._end = end
        self._stopping = False
        self._busy = True
        self._woken = threading.Event()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def wake(self) -> None:
        """Tick now."""
        self._woken.set()

    def news(self) -> None:
        """Tick now, if something waits: for this, perhaps."""
        if self._busy:
            self._woken.set()

    def stop(self) -> None:
        """Tick no more; one that goes on is not awaited."""
        self._stopping = True
        self._woken.set()

    def _run(self) -> None:
        quick = _QUICK_TICKS
        while not self._stopping:
            self._busy = self._end.tick()
            pause = _BUSY_SECONDS if self._busy else _IDLE_SECONDS
            if self._woken.wait(_QUICK_SECONDS if self._busy and quick else pause):
                self._woken.clear()
                quick = _QUICK_TICKS
            else:
                quick = max(0, quick - 1)
