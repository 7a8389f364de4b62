"""The data connections of a reader: one per writer, batches in, replies out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Final

import zmq

from parsl_streaming.seam import Batch
from parsl_streaming_dts.door import Door
from parsl_streaming_dts.frames import Frame
from parsl_streaming_dts.stream import MAX_HEAD_BYTES
from parsl_streaming_dts.stream import Stream
from parsl_streaming_dts.stream import linger

Key = tuple[str, int]
"""A writer: producer name and epoch."""
_IN: Final = int(zmq.POLLIN)
_OUT: Final = int(zmq.POLLOUT)


@dataclass(slots=True, eq=False)
class _Flow:
    """What comes from one writer."""

    key: Key
    token: bytes
    stream: Stream | None = None
    replies: deque[Batch] = field(default_factory=deque)
    """Those that the writer has not confirmed."""


class Inflow:
    """Brings writers and the connections that carry their tokens together.

    Args:
        hosts: Addresses to listen on.
        poller: Where the sockets are watched; call `serve` when one is ready.
        max_body: Longest body that is received, in bytes.
    """

    def __init__(self, hosts: Sequence[str], poller: zmq.Poller, max_body: int) -> None:
        self._poller = poller
        self._max_body = max_body
        self._door = Door(hosts, poller)
        self._flows: dict[Key, _Flow] = {}
        self._by_file: dict[int, _Flow] = {}
        self._ready: deque[_Flow] = deque()

    @property
    def ports(self) -> list[int]:
        """The data port on each address."""
        return self._door.ports

    @property
    def refused(self) -> int:
        """Connections that were sent away."""
        return self._door.refused

    def expect(self, key: Key, token: bytes) -> None:
        """A writer told this token; its connection has come, or will."""
        flow = self._flows.setdefault(key, _Flow(key, token))
        flow.token = token
        self._attach(flow)

    def serve(self, file: int, events: int) -> None:
        """One of the sockets became ready."""
        flow = self._by_file.get(file)
        if flow is None:
            self._match(self._door.serve(file))
            return
        if events & _OUT and flow.stream is not None:
            flow.stream.push()
            self._watch(flow.stream)
        if flow not in self._ready:
            self._ready.append(flow)

    def _match(self, token: bytes | None) -> None:
        """A stranger told its token: perhaps its writer told it before."""
        for flow in self._flows.values():
            if token is not None and flow.token == token:
                self._attach(flow)

    def _attach(self, flow: _Flow) -> None:
        """Take a writer's connection from the door; it replaces the one before."""
        stream = self._door.claim(flow.token)
        if stream is None:
            return
        self._detach(flow)
        stream.expect(MAX_HEAD_BYTES, self._max_body)
        flow.stream = stream
        self._by_file[stream.fileno()] = flow
        self._ready.append(flow)  # what follows the token may have come with it
        for batch in flow.replies:
            stream.send(batch.head, batch.body)
        self._watch(stream)

    def _watch(self, stream: Stream) -> None:
        self._poller.register(stream.fileno(), _IN | _OUT if stream.pending else _IN)

    def _detach(self, flow: _Flow) -> None:
        stream, flow.stream = flow.stream, None
        if flow in self._ready:
            self._ready.remove(flow)
        if stream is not None:
            del self._by_file[stream.fileno()]
            self._poller.unregister(stream.fileno())
            stream.close()

    @property
    def ready(self) -> bool:
        """Whether `read` may find something without another look at the sockets."""
        return bool(self._ready)

    def read(self) -> tuple[Key, Frame] | None:
        """The next frame that is here, of each writer in turn."""
        while self._ready:
            flow = self._ready[0]
            frame = flow.stream.read() if flow.stream is not None else None
            if frame is not None:
                self._ready.rotate(-1)
                return flow.key, frame
            self._ready.popleft()
            if flow.stream is not None and flow.stream.broken:
                self._detach(flow)
        return None

    def reply(self, key: Key, batch: Batch) -> None:
        """Send a batch to a writer; while its connection is broken, it waits for the next one."""
        flow = self._flows[key]
        flow.replies.append(batch)
        if flow.stream is None or flow.stream.broken:
            return
        flow.stream.send(batch.head, batch.body)
        if flow.stream.pending:
            self._watch(flow.stream)

    def confirm(self, key: Key, number: int) -> None:
        """The writer has got the replies up to this number."""
        replies = self._flows[key].replies
        while replies and replies[0].number <= number:
            replies.popleft()

    @property
    def is_cut(self) -> bool:
        """Whether there are replies for a writer whose connection is broken."""
        return any(flow.replies and flow.stream is None for flow in self._flows.values())

    def close(self) -> None:
        """Close everything, once the replies have reached the writers' hosts; idempotent."""
        streams = [flow.stream for flow in self._by_file.values() if flow.stream is not None]
        linger(streams)
        for stream in streams:
            stream.close()
        self._by_file.clear()
        self._door.close()
