"""Named pipes between a bash app's command and its channels: a line is a message."""

from __future__ import annotations

import os
import select
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from typing import Final
from typing import Self

from parsl_streaming.errors import ChannelTimeout
from parsl_streaming.errors import EndOfStream
from parsl_streaming.errors import UsageError
from parsl_streaming.message import Message
from parsl_streaming.reader import Reader
from parsl_streaming.writer import Writer

_POLL: Final = 0.1
_READ_BYTES: Final = 1 << 16


class Fifos:
    """A named pipe for each end of a task, in a directory of its own.

    A message that is read counts as dealt with when the pipe took its line.

    Args:
        ends: The ends by parameter.
    """

    def __init__(self, ends: Mapping[str, Reader | Writer]) -> None:
        self._directory = tempfile.mkdtemp(prefix='parsl-streaming-')
        self.paths: dict[str, str] = {}
        self._stopping = threading.Event()
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        for name, end in ends.items():
            path = str(Path(self._directory) / name)
            os.mkfifo(path, 0o600)
            self.paths[name] = path
            pump = self._feed if isinstance(end, Reader) else self._drain
            thread = threading.Thread(target=self._guard, args=(pump, path, end), daemon=True)
            self._threads.append(thread)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def finish(self) -> None:
        """The command has ended: take what it wrote, and raise what went wrong on the way."""
        self._stop()
        if self._errors:
            raise self._errors[0]

    def _stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _guard(self, pump: Callable[[str, Any], None], path: str, end: Reader | Writer) -> None:
        try:
            pump(path, end)
        except Exception as error:  # noqa: BLE001 (raised again by `finish`)
            self._errors.append(error)

    def _feed(self, path: str, reader: Reader) -> None:
        """Messages into the pipe, until the stream ends or the command does."""
        pipe = self._open_for_writing(path)
        if pipe is None:
            return
        with _last_opened(pipe, path):
            while (message := self._receive(reader)) is not None:
                if not self._write(pipe, _line(message, reader.channel.name)):
                    return
                message.ack()

    def _open_for_writing(self, path: str) -> int | None:
        """Wait until the command opens the pipe."""
        while not self._stopping.is_set():
            try:
                return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                time.sleep(_POLL / 2)
        return None

    def _receive(self, reader: Reader) -> Message | None:
        """The next message; `None` when the stream or the command has ended."""
        limit = time.monotonic() + reader.channel.timeout
        while not self._stopping.is_set():
            try:
                return reader.receive(_POLL)
            except EndOfStream:
                return None
            except ChannelTimeout:
                if time.monotonic() >= limit:
                    raise
        return None

    def _write(self, pipe: int, line: bytes) -> bool:
        rest = memoryview(line)
        while rest and not self._stopping.is_set():
            if select.select([], [pipe], [], _POLL)[1]:
                try:
                    rest = rest[os.write(pipe, rest) :]
                except BrokenPipeError:  # the command reads no more
                    return False
        return not rest

    def _drain(self, path: str, writer: Writer) -> None:
        """Lines from the pipe, until the command has ended and the pipe is empty."""
        pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with _last_opened(pipe, path):
            rest = b''
            while True:
                ended = self._stopping.is_set()
                select.select([pipe], [], [], 0 if ended else _POLL)
                data = _read(pipe)
                *lines, rest = (rest + data).split(b'\n')
                for line in lines:
                    writer.send(line)
                if ended and not data:
                    break
                if not data:
                    time.sleep(_POLL / 10)
            if rest:
                writer.send(rest)


def _line(message: Message, channel: str) -> bytes:
    """A message as a line of the pipe.

    Raises:
        UsageError: It is none.
    """
    value = message.value
    text = value.encode() if isinstance(value, str) else value
    if not isinstance(text, bytes) or b'\n' in text:
        kind = (
            'text of several lines'
            if isinstance(text, bytes)
            else f'a value of type {type(value).__name__}'
        )
        msg = (
            f'channel {channel!r}: a bash app reads lines, but was sent {kind}; send it str or '
            'bytes without a newline'
        )
        raise UsageError(msg)
    return text + b'\n'


def _read(pipe: int) -> bytes:
    """What is in the pipe now: nothing while no command has it open, or none has written."""
    try:
        return os.read(pipe, _READ_BYTES)
    except BlockingIOError:
        return b''


@contextmanager
def _last_opened(pipe: int, path: str) -> Iterator[None]:
    """Close a pipe that is no longer served; a command that opens it again fails, not hangs."""
    try:
        yield
    finally:
        Path(path).unlink()
        os.close(pipe)
