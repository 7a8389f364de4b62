"""Frames: batches on a data connection, each behind the lengths of its parts.

Layout (little endian)::

    flags    u32  bit 0: delivered before, the control connection says more
                  bit 1: credit runs out, acknowledge without delay
    head_len u32
    body_len u64
    head     head_len bytes
    body     body_len bytes

The first frame of a connection has the connection's token as its head, and no body.
Large bodies are received in place and sent from where they are.
"""

from __future__ import annotations

import struct
from collections import deque
from itertools import islice
from socket import socket
from typing import Final
from typing import NamedTuple

from parsl_streaming.errors import IntegrityError
from parsl_streaming.seam import Buffer

STAGE_BYTES: Final = 1 << 14
"""What is received along with the end of a frame: the next one's beginning, or small ones."""
AGAIN: Final = 1
URGENT: Final = 2
_PREFIX: Final = struct.Struct('<IIQ')
_PARTS_AT_ONCE: Final = 64


class Frame(NamedTuple):
    """A frame that came."""

    head: Buffer
    body: Buffer
    flags: int


class Incoming:
    """Turns what a connection brings into frames.

    Args:
        max_head: Longest head, in bytes.
        max_body: Longest body, in bytes.
    """

    def __init__(self, max_head: int, max_body: int) -> None:
        self.max_head = max_head
        self.max_body = max_body
        self._stage = memoryview(bytearray(STAGE_BYTES))
        self._start = self._end = 0
        self._frame: Frame | None = None
        self._todo: list[memoryview] = []

    def read(self, connection: socket) -> Frame | None:
        """The next frame; `None` when no whole one has come.

        Args:
            connection: A connection that does not block.

        Raises:
            ConnectionError: The other side has closed it.
            IntegrityError: A frame is longer than allowed.
        """
        while (frame := self._next()) is None:
            if not self._fill(connection):
                return None
        return frame

    def _next(self) -> Frame | None:
        if self._frame is None:
            self._begin()
        frame = self._frame
        if frame is None or self._todo:
            return None
        self._frame = None
        return frame

    def _begin(self) -> None:
        """Find the next frame's prefix; take what has come of its parts."""
        if self._end - self._start < _PREFIX.size:
            return
        flags, head_len, body_len = _PREFIX.unpack_from(self._stage, self._start)
        if head_len > self.max_head or body_len > self.max_body:
            msg = f'a frame of {head_len:,} + {body_len:,} bytes is longer than allowed'
            raise IntegrityError(msg)
        self._start += _PREFIX.size
        head, body = bytearray(head_len), bytearray(body_len)
        self._todo = [part for part in map(self._take, (head, body)) if part]
        self._frame = Frame(head, body, flags)

    def _take(self, part: bytearray) -> memoryview:
        """Copy what is here of a part of a frame; returns the rest of its room."""
        here = min(len(part), self._end - self._start)
        part[:here] = self._stage[self._start : self._start + here]
        self._start += here
        return memoryview(part)[here:]

    def _fill(self, connection: socket) -> bool:
        """Receive what there is: first the rest of the frame, then what follows it."""
        left = self._end - self._start
        self._stage[:left] = self._stage[self._start : self._end]
        self._start, self._end = 0, left
        try:
            count = connection.recvmsg_into([*self._todo, self._stage[left:]])[0]
        except BlockingIOError:
            return False
        if count == 0:
            msg = 'the other side has closed the connection'
            raise ConnectionError(msg)
        while self._todo and count >= len(self._todo[0]):
            count -= len(self._todo.pop(0))
        if self._todo:
            self._todo[0] = self._todo[0][count:]
        else:
            self._end += count
        return True


class Outgoing:
    """What waits to be sent on a connection."""

    def __init__(self) -> None:
        self._parts: deque[memoryview] = deque()

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(self, head: Buffer, body: Buffer, flags: int = 0) -> None:
        """Append a frame; the buffers must not change."""
        prefix = _PREFIX.pack(flags, len(head), len(body))
        self._parts.append(memoryview(prefix + head))
        if len(body):
            self._parts.append(memoryview(body))

    def push(self, connection: socket) -> None:
        """Send as much as the connection takes without waiting.

        Raises:
            OSError: The connection is broken.
        """
        parts = self._parts
        while parts:
            try:
                sent = connection.sendmsg(list(islice(parts, _PARTS_AT_ONCE)))
            except BlockingIOError:
                return
            while parts and sent >= len(parts[0]):
                sent -= len(parts.popleft())
            if sent:
                parts[0] = parts[0][sent:]
