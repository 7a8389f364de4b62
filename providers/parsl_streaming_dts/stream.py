"""A data connection: TCP that never blocks, carrying frames both ways.

Plain sockets, because a frame passes through libzmq's thread on each side at
several times the cost of the system call itself.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import time
from collections.abc import Iterable
from typing import Final
from typing import Self

from parsl_streaming.errors import IntegrityError
from parsl_streaming.seam import Buffer
from parsl_streaming_dts.frames import Frame
from parsl_streaming_dts.frames import Incoming
from parsl_streaming_dts.frames import Outgoing

TOKEN_BYTES: Final = 16
MAX_HEAD_BYTES: Final = 64 << 20
LINGER_SECONDS: Final = 2.0
_NAP: Final = 0.001
_KEEPALIVE: Final = (
    (socket.TCP_KEEPIDLE, 5),
    (socket.TCP_KEEPINTVL, 5),
    (socket.TCP_KEEPCNT, 3),
    (socket.TCP_USER_TIMEOUT, 60_000),
)


class Stream:
    """One data connection.

    Attributes:
        broken: It failed, or the other side closed it; nothing more will come or go.

    Args:
        connection: A connected (or connecting) socket; the stream owns it.
        max_head: Longest head that is received, in bytes.
        max_body: Longest body that is received, in bytes.
    """

    def __init__(self, connection: socket.socket, max_head: int, max_body: int) -> None:
        self.broken = self._was_connected = False
        self._socket = connection
        self._socket.settimeout(0)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            self._socket.setsockopt(socket.IPPROTO_TCP, option, value)
        self._incoming = Incoming(max_head, max_body)
        self._outgoing = Outgoing()

    @classmethod
    def dial(cls, host: str, port: int, token: bytes, max_body: int) -> Self:
        """Begin to connect; what is sent meanwhile leaves when the connection is there."""
        family = socket.AF_INET6 if ':' in host else socket.AF_INET
        stream = cls(socket.socket(family, socket.SOCK_STREAM), MAX_HEAD_BYTES, max_body)
        stream._outgoing.add(token, b'')
        try:
            stream._socket.connect((host, port))
        except BlockingIOError:
            pass  # under way
        except OSError:
            stream.broken = True
        return stream

    def fileno(self) -> int:
        """For pollers."""
        return self._socket.fileno()

    @property
    def pending(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._outgoing)

    @property
    def connected(self) -> bool:
        """Whether the other side has accepted the connection."""
        if not self._was_connected:
            try:
                self._socket.getpeername()
            except OSError:
                return False
            self._was_connected = True
        return not self.broken

    def expect(self, max_head: int, max_body: int) -> None:
        """Change what is received."""
        self._incoming.max_head = max_head
        self._incoming.max_body = max_body

    def send(self, head: Buffer, body: Buffer, flags: int = 0) -> None:
        """Send a frame, as far as the connection takes it now; the rest goes with `push`."""
        self._outgoing.add(head, body, flags)
        self.push()

    def push(self) -> None:
        """Send what waits, as far as the connection takes it now."""
        try:
            self._outgoing.push(self._socket)
        except OSError:
            self.broken = True

    def read(self) -> Frame | None:
        """The next frame that is here; `None` also when the connection broke."""
        try:
            return self._incoming.read(self._socket)
        except (OSError, IntegrityError):
            self.broken = True
            return None

    def close(self) -> None:
        """Close at once; what has not left may be lost."""
        self._socket.close()

    @property
    def unsent(self) -> bool:
        """Closing a socket with unread input drops what the other host has not confirmed."""
        if self.broken or not self.connected:
            return False
        queued = fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4))
        return self.pending or struct.unpack('i', queued)[0] > 0


def linger(streams: Iterable[Stream]) -> None:
    """Wait until what was sent on all of them has reached the other hosts."""
    limit = time.monotonic() + LINGER_SECONDS
    while (waiting := [it for it in streams if it.unsent]) and time.monotonic() < limit:
        time.sleep(_NAP)
        for stream in waiting:
            stream.push()
