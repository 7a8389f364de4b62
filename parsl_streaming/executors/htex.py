"""Parsl's HighThroughputExecutor, for streaming tasks."""

from __future__ import annotations

import math
import signal
from typing import Any

from parsl.executors import HighThroughputExecutor

from parsl_streaming.executors.mixin import Source
from parsl_streaming.executors.mixin import StreamingMixin
from parsl_streaming.executors.mixin import takes_those_of
from parsl_streaming.route import Ticket

_FIRST = 0


class StreamingExecutor(StreamingMixin, HighThroughputExecutor):
    """A `HighThroughputExecutor` that knows of channels.

    It numbers each try of a streaming task, runs the readers that wait for a worker
    before anything else, and refuses streaming tasks that would wait for each
    other because there are too few workers. Ctrl-C ends the program and not, before it, the
    interchange, without which Parsl's cleanup would hang.

    Args:
        *args: As `HighThroughputExecutor`.
        streaming: A `streaming.toml`, or its content: a session is loaded while the executor runs.
        **kwargs: As `HighThroughputExecutor`.
    """

    @takes_those_of(HighThroughputExecutor)
    def __init__(self, *args: Any, streaming: Source = None, **kwargs: Any) -> None:
        HighThroughputExecutor.__init__(self, *args, **kwargs)
        self.prepare(streaming)

    def start(self) -> None:
        """Start the interchange out of reach of Ctrl-C: Parsl's cleanup waits for its answers."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def slots(self) -> int | None:
        """See `StreamingMixin.slots`."""
        provider = self.provider
        assert provider is not None  # noqa: S101 (an executor of blocks has one)
        known = getattr(provider, 'cores_per_node', None) or self.available_accelerators
        if math.isinf(self.max_workers_per_node) and not known:
            return None  # each node's workers are as many as it has cores
        return int(self.workers_per_node * provider.nodes_per_block * provider.max_blocks)

    def rank(self, specification: dict[str, Any], tickets: list[Ticket]) -> dict[str, Any]:
        """Readers come before the writers that fill their channels, and before plain tasks."""
        if any(ticket.role == 'reader' for ticket in tickets):
            return {'priority': _FIRST} | specification
        return specification
