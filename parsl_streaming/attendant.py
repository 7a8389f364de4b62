"""The attendant of an end: its place at the registry, and its background thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from queue import Empty
from queue import SimpleQueue
from typing import Any
from typing import Final
from typing import Protocol

from parsl_streaming import connection
from parsl_streaming import errors
from parsl_streaming.errors import ProducerFenced
from parsl_streaming.errors import RegistryUnreachable
from parsl_streaming.errors import StreamingError
from parsl_streaming.route import Ticket
from parsl_streaming.seam import Batch
from parsl_streaming.seam import View
from parsl_streaming.statistics import ReaderStatistics
from parsl_streaming.statistics import WriterStatistics
from parsl_streaming.statistics import as_dict
from parsl_streaming.ticker import Ticked
from parsl_streaming.ticker import Ticker
from parsl_streaming.version import VERSION

logger = logging.getLogger(__name__)

DIAL_SECONDS: Final = 30.0
_TRY_SECONDS: Final = 5.0
"""Seconds after which a connection that brings no answer is given up for a new one."""
BEAT_SECONDS: Final = 1.0
_FIRST_TICK: Final = 0.1
"""An end that is gone before, and that has nothing waiting, needs no thread."""
_POLL: Final = 0.1
_LEAVE_SECONDS: Final = 2.0
_PATIENCE: Final = 15.0
"""Seconds for which an end that has left goes on telling a registry that does not answer."""


class Attended(Ticked, Protocol):
    """An end as its attendant sees it."""

    def fail(self, error: StreamingError) -> None:
        """Raise this error from every further call."""

    def statistics(self) -> WriterStatistics | ReaderStatistics:
        """The counters so far."""


class Attendant:
    """Opens an end at the registry, and looks after it until it leaves.

    Args:
        ticket: Who the end is, and where the registry is.

    Raises:
        NotAuthorised: The site's key file cannot be used.
    """

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.epoch = 0
        self._channel = ticket.route.channel.name
        self._contact: dict[str, Any] = {}
        self._owed: list[Mapping[str, Any]] = []
        self._rejoining = float('-inf')
        self._end: Attended | None = None
        self._ticker: Ticker | None = None
        self._seen: View | None = None
        self._beat_at = self._tick_at = self._give_up_at = float('inf')
        self._closed = False
        self._answers: SimpleQueue[Mapping[str, Any]] = SimpleQueue()
        self._left = threading.Event()
        self._lock = threading.Lock()
        self._connection, self._number = connection.join(ticket, self)

    @property
    def view(self) -> View:
        """The newest view of the channel."""
        return self._connection.view(self._channel)

    def open(self) -> Mapping[str, Any]:
        """Register the end.

        Returns:
            The registry's answer: `secret` of the channel and `secrets` of its architecture.

        Raises:
            RegistryUnreachable: No answer.
            StreamingError: What the registry refused.
        """
        limit = time.monotonic() + DIAL_SECONDS
        while (answer := self._ask(min(limit, time.monotonic() + _TRY_SECONDS))) is None:
            self._connection.retire()  # it may stand on this side only
            if time.monotonic() >= limit:
                raise RegistryUnreachable(self._unreachable())
            self._connection.remove(self._number)
            self._connection, self._number = connection.join(self.ticket, self)
        if 'error' in answer:
            kind, text = answer['error']
            raise getattr(errors, kind, StreamingError)(text)
        self.epoch = answer['epoch']
        return answer

    def _ask(self, limit: float) -> Mapping[str, Any] | None:
        """Ask to be registered; the answer, if it comes until then."""
        request = {'op': 'open', 'version': VERSION, 'call': self.ticket.call}
        self._connection.send(self._number, request | self._identity())
        while time.monotonic() < limit:
            with suppress(Empty):  # a task's walltime cannot interrupt a long wait
                return self._answers.get(timeout=_POLL)
        return None

    def _unreachable(self) -> str:
        ticket = self.ticket
        return (
            f'the registry at {", ".join(ticket.route.registry)} did not answer within '
            f'{DIAL_SECONDS:g} s: is it reachable from site {ticket.site.name!r}, and does '
            f'{ticket.site.key_file} hold the key of this session?'
        )

    def _identity(self) -> dict[str, Any]:
        ticket = self.ticket
        place = {'role': ticket.role, 'name': ticket.name, 'group': ticket.group}
        return {'channel': self._channel} | place

    def groups(self) -> list[str]:
        """The reader groups of the channel."""
        return self.view.groups

    def announce(self, contact: Mapping[str, Any]) -> None:
        """Tell the other ends how to reach this one."""
        with self._lock:
            self._contact.update(contact)
            self._connection.send(self._number, {'op': 'announce', 'contact': dict(contact)})

    def bury(self, letter: Batch) -> None:
        """Store a dead letter in the session's log."""
        self._owe({'op': 'bury', 'letter': [bytes(letter.head), bytes(letter.body)]})

    def _owe(self, request: Mapping[str, Any]) -> None:
        """Tell the registry what it must hear: again, if it had forgotten the end."""
        with self._lock:
            self._owed.append(request)
            self._connection.send(self._number, request)

    def attend(self, end: Attended) -> None:
        """Start looking after the end."""
        now = time.monotonic()
        self._beat_at, self._tick_at = now + BEAT_SECONDS, now + _FIRST_TICK
        self._end = end

    def wake(self) -> None:
        """Look at the end now, and again soon if it says that more is waiting."""
        with self._lock:
            if self._ticker is not None:
                self._ticker.wake()
            elif self._end is not None and not self._closed:
                self._ticker = Ticker(self._end, f'attendant-{self.ticket.name}')

    def leave(
        self,
        statistics: WriterStatistics | ReaderStatistics,
        end: Batch | None = None,
        *,
        lost: bool = False,
    ) -> None:
        """The end is done: tell the registry, and stop.

        A registry that is gone keeps nobody waiting for long; should it come back soon,
        it still hears.
        """
        request: dict[str, Any] = {'op': 'leave', 'statistics': as_dict(statistics), 'lost': lost}
        if end is not None:
            request['end'] = [bytes(end.head), bytes(end.body)]
        self._stop()
        self._give_up_at = time.monotonic() + _PATIENCE
        if not self._left.is_set():
            self._owe(request)
            self._left.wait(_LEAVE_SECONDS)

    def _stop(self) -> None:
        with self._lock:
            self._closed = True
            if self._ticker is not None:
                self._ticker.stop()

    def close(self) -> None:
        """Say and hear nothing more; idempotent."""
        self._stop()
        self._connection.remove(self._number)

    def look(self, now: float) -> None:
        """See `Listener.look`."""
        if self._left.is_set() or now >= self._give_up_at:
            self.close()
        elif now >= self._beat_at and self._end is not None:
            self._beat_at = now + BEAT_SECONDS
            beat = {'op': 'beat', 'statistics': as_dict(self._end.statistics())}
            self._connection.send(self._number, beat)
        if now >= self._tick_at:
            self._tick_at = float('inf')
            self.wake()
        elif self._ticker is not None and self.view is not self._seen:
            self._seen = self.view
            self._ticker.news()

    def hear(self, answer: Mapping[str, Any]) -> None:
        """See `Listener.hear`."""
        if 'epoch' in answer or ('error' in answer and not self.epoch):
            self._answers.put(answer)
        elif 'left' in answer:
            self.close()
            self._left.set()
        elif 'kept' in answer:
            with self._lock:
                del self._owed[:1]
        elif 'unknown' in answer:
            self._rejoin()
        elif 'rejoined' in answer:
            self._rejoining = float('-inf')
        elif 'fenced' in answer:
            self._fence()
        elif 'error' in answer:
            logger.warning('the registry refused a request: %s', answer['error'])

    def _rejoin(self) -> None:
        """The registry forgot the end, and so did not take what it was told since."""
        now = time.monotonic()
        with self._lock:
            if now < self._rejoining + BEAT_SECONDS:
                return  # an answer to what was sent before
            self._rejoining = now
            rejoin = {'op': 'rejoin', 'epoch': self.epoch, 'contact': self._contact}
            for request in (rejoin | self._identity(), *self._owed):
                self._connection.send(self._number, request)

    def _fence(self) -> None:
        msg = (
            f'channel {self._channel!r}: a newer run of {self.ticket.name!r} took over; this one '
            'must stop'
        )
        if self._end is not None:
            self._end.fail(ProducerFenced(msg))
        self._left.set()
