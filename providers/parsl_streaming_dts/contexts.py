"""ZeroMQ contexts for links, used again by the links of later tasks.

A context has threads, which cost more to start and to stop than the rest of a
short task's link. Each link has a context to itself while it is open; afterwards
the context serves another one, and what is still unsent leaves meanwhile.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from typing import Final

import zmq

from parsl_streaming import curve

MOST_KEPT: Final = 8
NEWS_SECONDS: Final = 1.0
"""A writer may come before the news of its key, which takes the way through the registry."""


class LinkContext:
    """A context, and its gatekeeper once a reader had it."""

    def __init__(self) -> None:
        self.zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._admits: Callable[[str], bool] = _nobody
        self._guarded = False

    def guard(self, admits: Callable[[str], bool]) -> None:
        """Admit clients by their public key, until the context is given back."""
        self._admits = admits
        if not self._guarded:
            self._guarded = True
            curve.Gatekeeper(self.zmq, self._may_enter, NEWS_SECONDS)

    def _may_enter(self, key: str) -> bool:
        return self._admits(key)

    def give_back(self) -> None:
        """The link has closed its sockets: keep the context for another."""
        self._admits = _nobody
        kept = _kept.setdefault(os.getpid(), [])
        if len(kept) < MOST_KEPT:
            kept.append(self)
        else:
            self.zmq.term()


def _nobody(key: str) -> bool:
    del key
    return False


_kept: Final[dict[int, list[LinkContext]]] = {}
"""By process: a forked child can neither use nor free its parent's."""


def borrow() -> LinkContext:
    """A context that no link has."""
    try:
        return _kept[os.getpid()].pop()
    except (KeyError, IndexError):
        return LinkContext()


def close_kept() -> None:
    """Free every context that no link has, when what is unsent has left or lingered enough."""
    kept = _kept.get(os.getpid(), [])
    while kept:
        kept.pop().zmq.term()


atexit.register(close_kept)
