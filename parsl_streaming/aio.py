"""The ends of channels for `async` programs.

Each end works in a thread of its own, so that the event loop never waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any
from typing import Generic
from typing import Self
from typing import TypeVar

from parsl_streaming import current
from parsl_streaming.errors import EndOfStream
from parsl_streaming.message import Message
from parsl_streaming.reader import Reader
from parsl_streaming.replies import Reply
from parsl_streaming.statistics import ReaderStatistics
from parsl_streaming.statistics import WriterStatistics
from parsl_streaming.writer import Writer

End = TypeVar('End', Reader, Writer)
Result = TypeVar('Result')


class _AsyncEnd(Generic[End]):
    """Runs the calls of one end, one after the other, in its thread."""

    def __init__(self, opener: Callable[[], End]) -> None:
        self._opener: Callable[[], End] = opener
        self._thread = ThreadPoolExecutor(1, thread_name_prefix='parsl-streaming-aio')
        self._end: End | None = None

    async def _run(self, call: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: call(*args, **kwargs))

    @property
    def end(self) -> End:
        """The end underneath.

        Raises:
            RuntimeError: It is not open: use `async with`.
        """
        if self._end is None:
            msg = 'open it with `async with` first'
            raise RuntimeError(msg)
        return self._end

    async def __aenter__(self) -> Self:
        self._end = await self._run(self._opener)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._run(self.end.__exit__, kind, error, trace)
        finally:
            self._thread.shutdown(wait=False)


class AsyncWriter(_AsyncEnd[Writer]):
    """A writer for `async with`; see `Writer`."""

    async def send(self, value: Any, **options: Any) -> None:
        """See `Writer.send`."""
        await self._run(self.end.send, value, **options)

    async def request(self, value: Any, **options: Any) -> Any:
        """Send a request and wait for its reply; see `Writer.request`."""
        reply: Reply = await self._run(self.end.request, value, **options)
        return await asyncio.wrap_future(reply)

    async def flush(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 (as `Writer`)
        """See `Writer.flush`."""
        await self._run(self.end.flush, timeout)

    def statistics(self) -> WriterStatistics:
        """See `Writer.statistics`."""
        return self.end.statistics()


class AsyncReader(_AsyncEnd[Reader]):
    """A reader for `async with` and `async for`; see `Reader`."""

    async def receive(self, timeout: float | None = None) -> Message:  # noqa: ASYNC109
        """See `Reader.receive`."""
        return await self._run(self.end.receive, timeout)

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            try:
                yield await self.receive()
            except EndOfStream:
                return

    def statistics(self) -> ReaderStatistics:
        """See `Reader.statistics`."""
        return self.end.statistics()


def reader(channel: str, **options: Any) -> AsyncReader:
    """A consumer's end; the arguments are those of `parsl_streaming.reader`."""
    return AsyncReader(lambda: current.reader(channel, **options))


def writer(channel: str, **options: Any) -> AsyncWriter:
    """A producer's end; the arguments are those of `parsl_streaming.writer`."""
    return AsyncWriter(lambda: current.writer(channel, **options))
