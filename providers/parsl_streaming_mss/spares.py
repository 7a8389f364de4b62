"""Connections to brokers that an end left in order, for the ends of later tasks.

A task's end then needs no handshake (of TCP, perhaps of TLS) and no login.
"""

from __future__ import annotations

import os
import select
import time
from typing import Final

from parsl_streaming_mss.connect import Endpoint
from parsl_streaming_mss.connect import Login

IDLE_SECONDS: Final = 5.0
MOST_KEPT: Final = 4

_kept: Final[dict[int, list[tuple[Endpoint, Login, float]]]] = {}
"""By process, oldest first: a forked child must not speak on its parent's connections."""


def _mine() -> list[tuple[Endpoint, Login, float]]:
    return _kept.setdefault(os.getpid(), [])


def keep(endpoint: Endpoint, login: Login) -> None:
    """Keep a connection on which no reply is awaited."""
    kept = _mine()
    kept.append((endpoint, login, time.monotonic()))
    while len(kept) > MOST_KEPT:
        kept.pop(0)[1].close()


def take(endpoint: Endpoint, buffer_bytes: int) -> Login | None:
    """A connection that was kept not long ago and still stands; the others are closed."""
    oldest = time.monotonic() - IDLE_SECONDS
    kept = _mine()
    for spare in kept[::-1]:
        where, login, since = spare
        if where != endpoint and since >= oldest:
            continue
        try:
            kept.remove(spare)
        except ValueError:
            continue  # another thread has it
        if where == endpoint and since >= oldest and _is_quiet(login):
            return login.renewed(buffer_bytes)
        login.close()
    return None


def _is_quiet(login: Login) -> bool:
    """Whether nothing came unasked, such as the end of the connection."""
    poller = select.poll()
    poller.register(login, select.POLLIN)
    return not poller.poll(0)


def close_kept() -> None:
    """Close all of this process."""
    kept = _mine()
    while kept:
        kept.pop()[1].close()
