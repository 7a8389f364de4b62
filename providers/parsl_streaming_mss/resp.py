"""The few parts of the RESP protocol that carry batches, without copying payloads.

Large arguments leave as their own part of one `sendmsg`; large replies are
memoryviews of the buffer into which the socket received them. Such a buffer is
filled again only when no view of it is left.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterable
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from typing import Final

from parsl_streaming.seam import Buffer

COPY_BELOW: Final = 4096
"""Arguments and replies shorter than this are copied: cheaper than one more part or view."""
SMALL_BUFFER: Final = 1 << 16
_PARTS: Final = 512
_POOL: Final = 8

Argument = Buffer | str | int


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An error that the server sent in place of a value.

    Attributes:
        text: The whole line, such as `OOM command not allowed ...`.
    """

    text: str

    @property
    def code(self) -> str:
        """The first word, such as `OOM`."""
        return self.text.partition(' ')[0]


class Waiting:
    """The type of `WAITING`: no whole reply has come yet."""


WAITING: Final = Waiting()


def pack(out: list[Buffer], arguments: Sequence[Argument]) -> None:
    """Append an encoded command to a list of parts; large arguments are not copied.

    Args:
        out: The parts to send.
        arguments: The command's name and arguments.
    """
    small: list[Buffer] = [b'*%d\r\n' % len(arguments)]
    for argument in arguments:
        data = str(argument).encode() if isinstance(argument, str | int) else argument
        small.append(b'$%d\r\n' % len(data))
        if len(data) >= COPY_BELOW:
            out += (b''.join(small), data)
            small = []
        else:
            small.append(data)
        small.append(b'\r\n')
    out.append(b''.join(small))


class ReplyParser:
    """Parses replies out of buffers that it owns, and can stop at any byte.

    Args:
        size: Usual size of a buffer, in bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._pool: list[bytearray] = []
        self._buffer = bytearray(size)
        self._position = 0
        self._end = 0
        self._wanted = 0
        self._stack: list[tuple[list[Any], int]] = []

    def space(self) -> memoryview:
        """Where to receive the next bytes."""
        if self._position == self._end and not self._stack and _unused(self._buffer):
            self._position = self._end = 0
        if max(self._wanted, self._end + 1) > len(self._buffer):
            self._change_buffer()
        return memoryview(self._buffer)[self._end :]

    def received(self, count: int) -> None:
        """Say how many bytes were put into `space()`."""
        self._end += count

    def _change_buffer(self) -> None:
        rest = memoryview(self._buffer)[self._position : self._end]
        fresh = self._take_buffer(max(self._size, self._wanted - self._position))
        fresh[: len(rest)] = rest
        self._end = len(rest)
        rest.release()
        if len(self._buffer) == self._size and len(self._pool) < _POOL:
            self._pool.append(self._buffer)
        self._buffer, self._position, self._wanted = fresh, 0, 0

    def _take_buffer(self, size: int) -> bytearray:
        for i, buffer in enumerate(self._pool):
            if len(buffer) >= size and _unused(buffer):
                return self._pool.pop(i)
        if len(self._pool) == _POOL:
            self._pool.pop(0)
        return bytearray(size)

    def parse(self) -> Any:
        """The next whole reply, or `WAITING`."""
        while True:
            value = self._item()
            if value is WAITING:
                return WAITING
            if isinstance(value, _Opened):
                self._stack.append(([], value.count))
                continue
            value = self._close_arrays(value)
            if value is not WAITING:
                return value

    def _close_arrays(self, value: Any) -> Any:
        while self._stack:
            items, count = self._stack[-1]
            items.append(value)
            if len(items) < count:
                return WAITING
            value = self._stack.pop()[0]
        return value

    def _item(self) -> Any:
        stop = self._buffer.find(b'\r\n', self._position, self._end)
        if stop < 0:
            self._wanted = 0
            return WAITING
        kind = self._buffer[self._position]
        line = bytes(memoryview(self._buffer)[self._position + 1 : stop])
        if kind == ord('$'):
            return self._bulk(int(line), stop + 2)
        self._position = stop + 2
        if kind == ord('*'):
            return _opened(int(line))
        if kind == ord(':'):
            return int(line)
        if kind == ord('+'):
            return line
        if kind == ord('-'):
            return ErrorReply(line.decode(errors='replace'))
        msg = f'unknown reply type {kind}'
        raise ConnectionError(msg)

    def _bulk(self, length: int, start: int) -> Any:
        if length < 0:
            self._position = start
            return None
        stop = start + length
        if stop + 2 > self._end:
            self._wanted = stop + 2
            return WAITING
        self._position = stop + 2
        view = memoryview(self._buffer)[start:stop]
        return bytes(view) if length < COPY_BELOW else view


class _Opened:
    __slots__ = ('count',)

    def __init__(self, count: int) -> None:
        self.count = count


def _opened(count: int) -> Any:
    if count > 0:
        return _Opened(count)
    return [] if count == 0 else None


def _unused(buffer: bytearray) -> bool:
    """Whether nobody holds a view of it: only then can a bytearray change its length."""
    try:
        buffer.append(buffer.pop())
    except BufferError:
        return False
    return True


class Connection:
    """A connection to the server. Commands are answered in order.

    Args:
        sock: A connected socket, with its timeout set.
        buffer_bytes: Usual size of a receive buffer.
    """

    def __init__(self, sock: socket.socket, buffer_bytes: int = SMALL_BUFFER) -> None:
        self._sock = sock
        self._parser = ReplyParser(buffer_bytes)
        self._has_sendmsg = type(sock) is socket.socket
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def fileno(self) -> int:
        """The socket's file descriptor."""
        return self._sock.fileno()

    def send(self, parts: Iterable[Buffer]) -> None:
        """Send all parts, in order.

        Raises:
            OSError: The connection is lost, or took nothing for the socket's timeout.
        """
        views = [memoryview(part) for part in parts if len(part)]
        first = 0
        while first < len(views):
            sent = self._send_some(views[first : first + _PARTS])
            while first < len(views) and sent >= len(views[first]):
                sent -= len(views[first])
                first += 1
            if sent:
                views[first] = views[first][sent:]

    def _send_some(self, views: list[memoryview]) -> int:
        if self._has_sendmsg:
            return self._sock.sendmsg(views)
        return self._sock.send(views[0])

    def receive(self, timeout: float) -> Any:
        """The next reply, or `WAITING` when it has not come whole within the timeout.

        Args:
            timeout: Longest wait in seconds for more bytes to come.

        Raises:
            OSError: The connection is lost.
        """
        while (value := self._parser.parse()) is WAITING:
            if not self._readable(timeout):
                return WAITING
            count = self._sock.recv_into(self._parser.space())
            if not count:
                msg = 'the server closed the connection'
                raise ConnectionError(msg)
            self._parser.received(count)
        return value

    def _readable(self, timeout: float) -> bool:
        pending = getattr(self._sock, 'pending', None)
        return bool((pending and pending()) or self._poll.poll(max(0.0, timeout) * 1000))

    def ask(self, *commands: Sequence[Argument], timeout: float = 10.0) -> list[Any]:
        """Send commands and wait for all replies.

        Args:
            commands: Each a name and its arguments.
            timeout: Longest wait in seconds for each reply.

        Raises:
            OSError: The connection is lost or silent.
        """
        parts: list[Buffer] = []
        for command in commands:
            pack(parts, command)
        self.send(parts)
        replies = [self.receive(timeout) for _ in commands]
        if any(reply is WAITING for reply in replies):
            msg = f'no reply within {timeout:g} s'
            raise TimeoutError(msg)
        return replies

    def close(self) -> None:
        """Close the socket; idempotent."""
        with suppress(OSError):
            self._sock.close()
