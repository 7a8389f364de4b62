"""The attendant of an end: its connection to the registry, and its background thread."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import Final
from typing import Protocol

import msgpack
import zmq

from parsl_streaming import curve
from parsl_streaming import errors
from parsl_streaming.errors import ProducerFenced
from parsl_streaming.errors import RegistryUnreachable
from parsl_streaming.errors import StreamingError
from parsl_streaming.route import Ticket
from parsl_streaming.route import view_from_list
from parsl_streaming.seam import Batch
from parsl_streaming.seam import View
from parsl_streaming.statistics import ReaderStatistics
from parsl_streaming.statistics import WriterStatistics
from parsl_streaming.statistics import as_dict
from parsl_streaming.version import VERSION

logger = logging.getLogger(__name__)

DIAL_SECONDS: Final = 30.0
BEAT_SECONDS: Final = 1.0
_BUSY_MS: Final = 10
_IDLE_MS: Final = 100
_LEAVE_SECONDS: Final = 2.0


class Attended(Protocol):
    """An end as its attendant sees it."""

    def tick(self) -> bool:
        """Do what is due; says whether more is waiting."""

    def fail(self, error: StreamingError) -> None:
        """Raise this error from every further call."""

    def statistics(self) -> WriterStatistics | ReaderStatistics:
        """The counters so far."""


class Attendant:
    """Opens an end at the registry, and looks after it until it leaves.

    One socket and one thread per end, both gone when the end has left.

    Args:
        ticket: Who the end is, and where the registry is.

    Raises:
        NotAuthorised: The site's key file cannot be used.
    """

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.view = View()
        self.epoch = 0
        self._contact: dict[str, Any] = {}
        self._end: Attended | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._left = False
        keys = curve.KeyPair.load(Path(ticket.site.key_file or ''))
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        curve.make_client(self._socket, keys, ticket.route.registry_key)
        self._socket.linger = int(_LEAVE_SECONDS * 1000)
        self._lock = threading.Lock()
        self._outgoing: list[Mapping[str, Any]] = []
        self._wake = os.eventfd(0, os.EFD_NONBLOCK)

    def open(self) -> Mapping[str, Any]:
        """Register the end.

        Returns:
            The registry's answer: `secret` of the channel and `secrets` of its architecture.

        Raises:
            RegistryUnreachable: No answer.
            StreamingError: What the registry refused.
        """
        ticket = self.ticket
        for address in ticket.route.registry:
            self._socket.ipv6 = '[' in address
            self._socket.connect(address)
        self._send({'op': 'open', 'version': VERSION, 'call': ticket.call} | self._identity())
        if not self._socket.poll(int(DIAL_SECONDS * 1000)):
            msg = (
                f'the registry at {", ".join(ticket.route.registry)} did not answer within '
                f'{DIAL_SECONDS:g} s: is it reachable from site {ticket.site.name!r}, and does '
                f'{ticket.site.key_file} hold the key of this session?'
            )
            raise RegistryUnreachable(msg)
        answer: dict[str, Any] = msgpack.unpackb(self._socket.recv(), strict_map_key=False)
        if 'error' in answer:
            kind, text = answer['error']
            raise getattr(errors, kind, StreamingError)(text)
        self.epoch = answer['epoch']
        self.view = view_from_list(answer['view'])
        return answer

    def _identity(self) -> dict[str, Any]:
        ticket = self.ticket
        return {
            'channel': ticket.route.channel.name,
            'role': ticket.role,
            'name': ticket.name,
            'group': ticket.group,
        }

    def _send(self, request: Mapping[str, Any]) -> None:
        self._socket.send(msgpack.packb(request))

    def groups(self) -> list[str]:
        """The reader groups of the channel."""
        return self.view.groups

    def announce(self, contact: Mapping[str, Any]) -> None:
        """Tell the other ends how to reach this one."""
        self._contact.update(contact)
        self._post({'op': 'announce', 'contact': dict(contact)})

    def bury(self, letter: Batch) -> None:
        """Store a dead letter in the session's log."""
        self._post({'op': 'bury', 'letter': [bytes(letter.head), bytes(letter.body)]})

    def _post(self, request: Mapping[str, Any]) -> None:
        with self._lock:
            self._outgoing.append(request)
        self.wake()

    def wake(self) -> None:
        """Look at the end now, and again soon if it says that more is waiting."""
        with self._lock:
            if not self._stopping:
                os.eventfd_write(self._wake, 1)

    def attend(self, end: Attended) -> None:
        """Start looking after the end."""
        self._end = end
        self._thread = threading.Thread(
            target=self._run, name=f'attendant-{self.ticket.name}', daemon=True
        )
        self._thread.start()

    def leave(
        self,
        statistics: WriterStatistics | ReaderStatistics,
        end: Batch | None = None,
        *,
        lost: bool = False,
    ) -> None:
        """The end is done: tell the registry, and stop."""
        request: dict[str, Any] = {'op': 'leave', 'statistics': as_dict(statistics), 'lost': lost}
        if end is not None:
            request['end'] = [bytes(end.head), bytes(end.body)]
        self._post(request)
        self.close()

    def close(self) -> None:
        """Stop the thread and free the socket; idempotent."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
            os.eventfd_write(self._wake, 1)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._drain()
        self._socket.close()
        self._context.term()
        os.close(self._wake)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        pause, beat = _IDLE_MS, time.monotonic()
        while not self._stopping:
            events = dict(poller.poll(pause))
            if self._wake in events:
                os.eventfd_read(self._wake)
            self._drain()
            if time.monotonic() >= beat and self._end is not None:
                beat = time.monotonic() + BEAT_SECONDS
                self._send({'op': 'beat', 'statistics': as_dict(self._end.statistics())})
            pause = _BUSY_MS if self._end is not None and self._end.tick() else _IDLE_MS
        self._await_leave()

    def _drain(self) -> None:
        with self._lock:
            outgoing, self._outgoing = self._outgoing, []
        for request in outgoing:
            self._send(request)
        while self._socket.poll(0):
            self._receive(msgpack.unpackb(self._socket.recv(), strict_map_key=False))

    def _await_leave(self) -> None:
        """Bounded: a registry that is gone must not keep a finished task."""
        self._drain()
        limit = time.monotonic() + _LEAVE_SECONDS
        while not self._left and time.monotonic() < limit:
            self._socket.poll(_IDLE_MS)
            self._drain()

    def _receive(self, push: dict[str, Any]) -> None:
        if 'view' in push:
            self.view = view_from_list(push['view'])
        elif 'left' in push or ('unknown' in push and self._stopping):
            self._left = True
        elif 'unknown' in push:
            rejoin = {'op': 'rejoin', 'epoch': self.epoch, 'contact': self._contact}
            self._send(rejoin | self._identity())
        elif 'fenced' in push and self._end is not None:
            self._left = True
            self._end.fail(self._fenced())
        elif 'error' in push:
            logger.warning('the registry refused a request: %s', push['error'])

    def _fenced(self) -> StreamingError:
        msg = (
            f'channel {self.ticket.route.channel.name!r}: a newer run of {self.ticket.name!r} took '
            'over; this one must stop'
        )
        return ProducerFenced(msg)
