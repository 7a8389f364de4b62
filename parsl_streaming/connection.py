"""This process's connections to registries: one for all of its ends of a site.

A task's end needs one round trip on a connection that stands already, in place of
a handshake, a thread and a socket of its own. A connection without ends
is closed after a while, or with the session.
"""

from __future__ import annotations

import itertools
import logging
import os
import select
import threading
import time
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from typing import Final
from typing import Protocol

import msgpack
import zmq

from parsl_streaming import curve
from parsl_streaming.route import Ticket
from parsl_streaming.route import follow
from parsl_streaming.seam import View

logger = logging.getLogger(__name__)

IDLE_SECONDS: Final = 5.0
LOOK_MS: Final = 100
_LINGER_MS: Final = 2000
_LEASE: Final = 10.0
_POLLIN: Final = int(zmq.POLLIN)

_Place = tuple[int, str, tuple[str, ...], str]
"""Process, the registry's key and addresses, and the key file that opens the connection."""


class Listener(Protocol):
    """One end, as its connection sees it; called on the connection's thread, so never to wait."""

    def hear(self, answer: Mapping[str, Any]) -> None:
        """The registry said this to the end."""

    def look(self, now: float) -> None:
        """It is `now` (monotonic time): do what is due."""


class Connection:
    """One socket and one thread; the registry knows the ends by the numbers they have here.

    Args:
        place: Whose it is.
        keys: The site's key pair.
    """

    def __init__(self, place: _Place, keys: curve.KeyPair) -> None:
        self._place = place
        _, registry_key, addresses, _ = place
        self._views: dict[str, View] = {}
        self._listeners: dict[bytes, Listener] = {}
        self._numbers = itertools.count(1)
        self._idle_since = time.monotonic()
        self._closing = False
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        curve.make_client(self._socket, keys, registry_key)
        curve.set_heartbeat(self._socket, _LEASE)
        self._socket.linger = _LINGER_MS
        for address in addresses:
            self._socket.ipv6 = '[' in address
            self._socket.connect(address)
        self._lock = threading.Lock()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK)
        threading.Thread(target=self._run, name='registry-connection', daemon=True).start()

    def view(self, channel: str) -> View:
        """The newest view of a channel."""
        return self._views.get(channel, _NOBODY)

    def add(self, listener: Listener) -> bytes:
        """Take an end; returns its number, by which it sends and leaves."""
        number = b'%d' % next(self._numbers)
        self._listeners[number] = listener
        return number

    def remove(self, number: bytes) -> None:
        """The end says and hears nothing more; idempotent."""
        self._idle_since = time.monotonic()
        self._listeners.pop(number, None)

    def send(self, number: bytes, request: Mapping[str, Any]) -> None:
        """Tell the registry; dropped if it has taken nothing for long, as a beat may be."""
        frames = [number, msgpack.packb(request)]
        with self._lock:
            if self._socket.closed:
                return
            with suppress(zmq.Again):
                self._socket.send_multipart(frames, zmq.DONTWAIT)
            if self._has_input():  # sending took the news of it from the file descriptor
                os.eventfd_write(self._wake, 1)

    def _has_input(self) -> bool:
        return bool(int(self._socket.getsockopt(zmq.EVENTS)) & _POLLIN)

    def retire(self) -> None:
        """Give it to no further end: it may have been refused, and would never come back."""
        with _lock:
            self._forget()

    def _forget(self) -> None:
        if _standing.get(self._place) is self:
            del _standing[self._place]

    def close_if_idle(self) -> None:
        """Close it now, unless it has ends."""
        with self._lock:
            if not self._socket.closed:
                self._idle_since = float('-inf')
                os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        poller = select.poll()
        poller.register(int(self._socket.getsockopt(zmq.FD)), select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        while not self._is_over():
            if any(fd == self._wake for fd, _ in poller.poll(LOOK_MS)):
                os.eventfd_read(self._wake)
            for number, frame in self._received():
                self._hear(number, msgpack.unpackb(frame, strict_map_key=False))
            now = time.monotonic()
            for listener in list(self._listeners.values()):
                _safely(listener.look, now)
        with self._lock:
            self._socket.close()
            os.close(self._wake)
        self._context.term()

    def _is_over(self) -> bool:
        if self._listeners or time.monotonic() < self._idle_since + IDLE_SECONDS:
            return False
        with _lock:  # so that no end comes in between
            if self._listeners:
                return False
            self._forget()
        return True

    def _received(self) -> list[list[bytes]]:
        received = []
        with self._lock:
            while self._has_input():
                received.append(self._socket.recv_multipart())
        return received

    def _hear(self, number: bytes, answer: dict[str, Any]) -> None:
        if 'view' in answer:
            channel = answer['channel']
            self._views[channel] = follow(self.view(channel), answer['view'])
        listener = self._listeners.get(number)
        if listener is not None:
            _safely(listener.hear, answer)


def _safely(tell: Callable[[Any], None], what: object) -> None:
    """What goes wrong with one end must not stop the others' connection."""
    try:
        tell(what)
    except Exception:
        logger.exception('an end could not be told what the registry said, or the time')


_NOBODY: Final = View()
_standing: Final[dict[_Place, Connection]] = {}
_lock = threading.Lock()


def join(ticket: Ticket, listener: Listener) -> tuple[Connection, bytes]:
    """Enter an end on the connection to its registry, which is made if there is none.

    Args:
        ticket: Who the end is, and where the registry is.
        listener: The end.

    Returns:
        The connection, and the end's number there.

    Raises:
        NotAuthorised: The site's key file cannot be used.
    """
    route, key_file = ticket.route, ticket.site.key_file or ''
    place = (os.getpid(), route.registry_key, route.registry, key_file)
    with _lock:
        if place not in _standing:
            _standing[place] = Connection(place, curve.KeyPair.load(Path(key_file)))
        return _standing[place], _standing[place].add(listener)


def close_idle(registry_key: str) -> None:
    """The session of this registry ends: close this process's connections without ends to it."""
    with _lock:
        over = [it for (_, key, _, _), it in _standing.items() if key == registry_key]
    for connection in over:
        connection.close_if_idle()


def _forked() -> None:
    """A child neither uses nor frees its parent's connections; the lock may have been held."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forked)
