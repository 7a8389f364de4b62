"""Which of a peer's addresses can be reached from here."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Sequence
from typing import Final

RACE_SECONDS: Final = 2.0


def first_reachable(
    addresses: Sequence[tuple[str, int]], timeout: float = RACE_SECONDS
) -> int | None:
    """Connect to all at once; the index of the first that accepts.

    Args:
        addresses: Host and port of each candidate.
        timeout: Longest wait in seconds.

    Returns:
        An index, or `None` when none accepted in time.
    """
    if len(addresses) == 1:
        return 0
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for i, (host, port) in enumerate(addresses):
            family = socket.AF_INET6 if ':' in host else socket.AF_INET
            candidate = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            candidate.settimeout(0)
            try:
                candidate.connect_ex((host, port))
            except OSError:
                continue  # a name that nobody knows here, say
            selector.register(candidate, selectors.EVENT_WRITE, i)
        return _winner(selector, timeout)


def _winner(selector: selectors.BaseSelector, timeout: float) -> int | None:
    limit = time.monotonic() + timeout
    while selector.get_map() and (left := limit - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            candidate = key.fileobj
            assert isinstance(candidate, socket.socket)  # noqa: S101 (only sockets are registered)
            if candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                winner: int = key.data
                return winner
            selector.unregister(candidate)
    return None
