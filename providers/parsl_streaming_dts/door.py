"""The reader's data ports, and who may come in.

Anybody can connect. A connection begins with the token that its writer tells on
the encrypted control connection too. Until both have come it is a stranger's:
few of those are let in, they may say no more than a token, and not stay long.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import Final

import zmq

from parsl_streaming.errors import ConfigError
from parsl_streaming_dts.stream import TOKEN_BYTES
from parsl_streaming_dts.stream import Stream

MAX_STRANGERS: Final = 256
STRANGER_SECONDS: Final = 30.0


class Door:
    """Listens for data connections, and keeps strangers until they are claimed.

    Attributes:
        refused: Connections that did not begin with a token, or that nobody claimed.

    Args:
        hosts: Addresses to listen on.
        poller: Where the door's sockets are watched.

    Raises:
        ConfigError: One of them is not of this host.
    """

    def __init__(self, hosts: Sequence[str], poller: zmq.Poller) -> None:
        self.refused = 0
        self._poller = poller
        self._listeners: dict[int, socket.socket] = {}
        self._strangers: dict[int, tuple[Stream, float]] = {}
        self._tokens: dict[bytes, int] = {}
        for host in hosts:
            try:
                listener = _listen(host)
            except OSError as error:
                self.close()
                msg = (
                    f'cannot listen on {host} ({error.strerror}); `addresses` of a site are those '
                    'of the host on which its apps run'
                )
                raise ConfigError(msg) from error
            self._listeners[listener.fileno()] = listener
            poller.register(listener.fileno(), zmq.POLLIN)

    @property
    def ports(self) -> list[int]:
        """The port on each address."""
        return [listener.getsockname()[1] for listener in self._listeners.values()]

    def serve(self, file: int) -> bytes | None:
        """Look after one of the door's sockets that became ready.

        Returns:
            The token that a stranger told; `claim` gives its connection.
        """
        if file in self._listeners:
            self._let_in(self._listeners[file])
        elif file in self._strangers:
            return self._ask(file)
        return None

    def _let_in(self, listener: socket.socket) -> None:
        now = time.monotonic()
        for file, (_, since) in list(self._strangers.items()):
            if now - since > STRANGER_SECONDS:
                self._send_away(file)
        try:
            connection, _ = listener.accept()
        except OSError:  # gone again
            return
        if len(self._strangers) >= MAX_STRANGERS:
            self._send_away(next(iter(self._strangers)))  # the oldest: who is owed room is quick
        stream = Stream(connection, TOKEN_BYTES, 0)
        self._strangers[stream.fileno()] = (stream, now)
        self._poller.register(stream.fileno(), zmq.POLLIN)

    def _ask(self, file: int) -> bytes | None:
        stream, _ = self._strangers[file]
        frame = stream.read()
        if frame is not None and len(frame.head) == TOKEN_BYTES:
            token = bytes(frame.head)
            self._tokens[token] = file
            self._poller.unregister(file)  # what follows waits until it is claimed
            return token
        if frame is not None or stream.broken:
            self._send_away(file)
        return None

    def _send_away(self, file: int) -> None:
        self.refused += 1
        stream, _ = self._strangers.pop(file)
        self._tokens = {t: f for t, f in self._tokens.items() if f != file}
        if file in self._poller:
            self._poller.unregister(file)
        stream.close()

    def claim(self, token: bytes) -> Stream | None:
        """The connection that told this token, if it has come."""
        file = self._tokens.pop(token, None)
        return None if file is None else self._strangers.pop(file)[0]

    def close(self) -> None:
        """Close every socket that is still the door's."""
        for listener in self._listeners.values():
            listener.close()
        for stream, _ in self._strangers.values():
            stream.close()


def _listen(host: str) -> socket.socket:
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family, backlog=MAX_STRANGERS)
    listener.settimeout(0)
    return listener
