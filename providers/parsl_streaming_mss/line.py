"""A connection that comes back: commands leave together, replies go to their handlers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from typing import Final

from parsl_streaming.errors import BrokerUnavailable
from parsl_streaming.errors import StreamingError
from parsl_streaming.seam import Buffer
from parsl_streaming_mss.connect import IO_TIMEOUT
from parsl_streaming_mss.connect import Endpoint
from parsl_streaming_mss.connect import Login
from parsl_streaming_mss.connect import connect
from parsl_streaming_mss.resp import WAITING
from parsl_streaming_mss.resp import Argument
from parsl_streaming_mss.resp import pack
from parsl_streaming_mss.spares import keep
from parsl_streaming_mss.spares import take

PATIENCE: Final = 60.0
"""Seconds for which a lost broker is sought again."""
_ATTEMPT: Final = 1.0
_PAUSE: Final = 0.05

Handler = Callable[[Any], None]


def ignore(_reply: Any) -> None:
    """The handler of a reply that says nothing new."""


class Line:
    """One connection to the broker, made again when it is lost.

    What was sent and not answered is forgotten with a connection; `restore` sends
    it again, so it must be safe to repeat.

    Args:
        endpoint: Where, and as whom.
        restore: Called after every connection but the first, before anything else is sent.
        buffer_bytes: Usual size of a receive buffer.

    Raises:
        StreamingError: The first connection cannot be made.
    """

    def __init__(
        self, endpoint: Endpoint, restore: Callable[[], None], *, buffer_bytes: int
    ) -> None:
        self._endpoint = endpoint
        self._restore = restore
        self._buffer_bytes = buffer_bytes
        self._out: list[Buffer] = []
        self._handlers: deque[Handler] = deque()
        self._heard = 0.0
        self._lost_at = 0.0
        self._try_at = 0.0
        self.reconnections = 0
        self._connection: Login | None = take(endpoint, buffer_bytes) or self._connect(IO_TIMEOUT)

    @property
    def endpoint(self) -> Endpoint:
        """Where the broker is."""
        return self._endpoint

    @property
    def busy(self) -> bool:
        """Whether replies are awaited."""
        return bool(self._handlers)

    def _connect(self, timeout: float) -> Login:
        return connect(self._endpoint, timeout=timeout, buffer_bytes=self._buffer_bytes)

    def ask(self, *commands: list[Argument]) -> list[Any]:
        """Send commands on an idle connection and wait for the replies.

        Raises:
            BrokerUnavailable: The connection is lost.
        """
        try:
            if self._connection is None:
                self._connection = self._connect(_ATTEMPT)
            return self._connection.ask(*commands)
        except OSError as error:
            self._drop()
            msg = f'the broker at {self._endpoint} does not answer ({error}); check that it runs'
            raise BrokerUnavailable(msg) from error

    def add(self, handler: Handler, arguments: list[Argument]) -> None:
        """Queue a command for the next `exchange`."""
        pack(self._out, arguments)
        self._handlers.append(handler)

    def exchange(self, timeout: float) -> bool:
        """Send what is queued, and handle the replies that come.

        Args:
            timeout: Longest wait in seconds for the first reply.

        Returns:
            Whether a reply was handled.

        Raises:
            BrokerUnavailable: The broker has been gone for too long.
        """
        if self._connection is None and not self._reconnect(timeout):
            return False
        try:
            return self._exchange(timeout)
        except OSError:
            self._drop()
            return False

    def _exchange(self, timeout: float) -> bool:
        assert self._connection is not None  # noqa: S101 -- `exchange` has seen to it
        if self._out:
            parts, self._out = self._out, []
            self._connection.send(parts)
            self._heard = time.monotonic()
        handled = False
        while self._handlers:
            reply = self._connection.receive(0.0 if handled else timeout)
            if reply is WAITING:
                break
            handled, self._heard = True, time.monotonic()
            self._handlers.popleft()(reply)
        if self._handlers and time.monotonic() - self._heard > IO_TIMEOUT:
            msg = f'no reply within {IO_TIMEOUT:g} s'
            raise TimeoutError(msg)
        return handled

    def _reconnect(self, timeout: float) -> bool:
        now = time.monotonic()
        if now < self._try_at:
            time.sleep(max(0.0, min(timeout, self._try_at - now)))
            return False
        self._try_at = now + _PAUSE
        try:
            self._connection = self._connect(_ATTEMPT)
        except BrokerUnavailable:
            if now - self._lost_at > PATIENCE:
                raise
            return False
        self.reconnections += 1
        self._out.clear()
        self._handlers.clear()
        self._restore()
        return True

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._out.clear()
        self._handlers.clear()
        self._lost_at = self._try_at = time.monotonic()

    def close(self, timeout: float = 0.0) -> None:
        """Send what is queued, wait for the replies, and close; idempotent.

        A connection on which no reply is awaited is kept for another line.

        Args:
            timeout: Longest wait in seconds for each reply.
        """
        with suppress(OSError, StreamingError):
            if self._connection is not None and timeout:
                self._exchange(timeout)
                while self._handlers and self._exchange(timeout):
                    pass
        if self._connection is not None and not self._handlers:
            keep(self._endpoint, self._connection)
            self._connection = None
        self._drop()
