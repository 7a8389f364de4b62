"""Parsl's ThreadPoolExecutor, for streaming tasks."""

from __future__ import annotations

from typing import Any

from parsl.executors import ThreadPoolExecutor

from parsl_streaming.executors.mixin import Source
from parsl_streaming.executors.mixin import StreamingMixin
from parsl_streaming.executors.mixin import takes_those_of


class StreamingThreadPoolExecutor(StreamingMixin, ThreadPoolExecutor):
    """A `ThreadPoolExecutor` that knows of channels: for the submit side, and for tests.

    Args:
        *args: As `ThreadPoolExecutor`.
        streaming: A `streaming.toml`, or its content: a session is loaded while the executor runs.
        **kwargs: As `ThreadPoolExecutor`.
    """

    @takes_those_of(ThreadPoolExecutor)
    def __init__(self, *args: Any, streaming: Source = None, **kwargs: Any) -> None:
        ThreadPoolExecutor.__init__(self, *args, **kwargs)
        self.prepare(streaming)

    def slots(self) -> int | None:
        """See `StreamingMixin.slots`."""
        threads: int | None = self.max_threads
        return threads
