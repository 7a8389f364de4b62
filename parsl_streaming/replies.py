"""Requests that wait for their replies."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from parsl_streaming.codecs import Codecs
from parsl_streaming.errors import ChannelClosed
from parsl_streaming.errors import IntegrityError
from parsl_streaming.errors import RequestRejected
from parsl_streaming.packing import Unpacker
from parsl_streaming.seam import Batch

Pump = Callable[[float], None]
POLL_SECONDS = 0.1


class Reply(Future[Any]):
    """The reply to a request; a list with one reply per reader on a gather channel.

    Waiting for it moves the link's traffic in the waiting thread, which saves
    the hop through a background thread.
    """

    def __init__(self, pump: Pump) -> None:
        super().__init__()
        self._pump = pump

    def _wait(self, timeout: float | None) -> None:
        limit = None if timeout is None else time.monotonic() + timeout
        while not self.done():
            left = POLL_SECONDS if limit is None else limit - time.monotonic()
            if left <= 0:
                raise FutureTimeoutError
            self._pump(min(left, POLL_SECONDS))

    def result(self, timeout: float | None = None) -> Any:
        """The reply's value.

        Args:
            timeout: Longest wait in seconds; `None` waits until the channel ends.

        Raises:
            TimeoutError: No reply within the timeout.
            RequestRejected: A reader refused the request.
            ChannelClosed: The writer was closed first.
        """
        self._wait(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The error that the request met, or `None`."""
        self._wait(timeout)
        return super().exception(0)


class _Request:
    __slots__ = ('expected', 'reply', 'values')

    def __init__(self, reply: Reply, expected: int) -> None:
        self.reply = reply
        self.expected = expected
        self.values: dict[str, Any] = {}


class PendingReplies:
    """Matches reply batches with the requests of one writer.

    Args:
        codecs: The channel's codecs.
        unpacker: Opens the reply batches.
        gather: Whether a request waits for every reader.
    """

    def __init__(self, codecs: Codecs, unpacker: Unpacker, *, gather: bool) -> None:
        self._codecs = codecs
        self._unpacker = unpacker
        self._gather = gather
        self._requests: dict[int, _Request] = {}
        self.received = 0

    def __len__(self) -> int:
        return len(self._requests)

    def expect(self, seq: int, reply: Reply, readers: int) -> None:
        """A request with this sequence number was sent to so many readers."""
        self._requests[seq] = _Request(reply, readers if self._gather else 1)

    def receive(self, batch: Batch) -> None:
        """Resolve what a batch answers; a damaged one is ignored, the request comes again."""
        try:
            opened = self._unpacker.open(batch)
        except IntegrityError:
            return
        for i in range(opened.header.count):
            codec, meta, _, headers, seq = opened.index.row(i)
            data = opened.body[opened.starts[i] : opened.starts[i + 1]]
            self._answer(seq, batch.producer, codec, meta, headers, data)

    def _answer(
        self, seq: Any, reader: str, codec: int, meta: Any, headers: Any, data: memoryview
    ) -> None:
        request = self._requests.get(seq)
        if request is None or reader in request.values:
            return
        self.received += 1
        if headers and 'error' in headers:
            _fail(self._requests.pop(seq).reply, RequestRejected(headers['error']))
            return
        try:
            request.values[reader] = self._codecs.decode(codec, meta, data)
        except Exception as error:  # noqa: BLE001 (it belongs to whoever waits)
            _fail(self._requests.pop(seq).reply, error)
            return
        if len(request.values) == request.expected:
            del self._requests[seq]
            values = [request.values[name] for name in sorted(request.values)]
            if request.reply.set_running_or_notify_cancel():
                request.reply.set_result(values if self._gather else values[0])

    def fail(self, reason: str) -> None:
        """Nothing will be answered any more."""
        for request in self._requests.values():
            _fail(request.reply, ChannelClosed(reason))
        self._requests.clear()


def _fail(reply: Reply, error: Exception) -> None:
    """Unless whoever waited has given up."""
    if reply.set_running_or_notify_cancel():
        reply.set_exception(error)
