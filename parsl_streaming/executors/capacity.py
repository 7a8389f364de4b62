"""Which channels' ends hold an executor's workers, and whether there are enough of them.

A task with an end holds its worker until its channel ends. When a channel's
readers and writers share an executor, a writer that waits for a worker behind
readers that wait for that writer would wait for ever.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Sequence

from parsl_streaming.errors import CapacityError
from parsl_streaming.route import Ticket

logger = logging.getLogger(__name__)


class Capacity:
    """Counts the streaming tasks of one executor that are not done.

    Args:
        label: The executor's label.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._tasks = 0
        self._ends: Counter[tuple[str, str]] = Counter()
        self._warned: set[str] = set()
        self._lock = threading.Lock()

    def admit(self, tickets: Sequence[Ticket], slots: int | None) -> None:
        """Count a task in.

        Args:
            tickets: Its places on channels.
            slots: Tasks that the executor can run at once, with all the blocks that it
                may have; `None` if nobody knows.

        Raises:
            CapacityError: It could wait for ever; it is not counted.
        """
        with self._lock:
            self._count(tickets, 1)
            if slots is None or self._tasks <= slots:
                return
            shared = self._shared(tickets)
            if shared:
                message = self._message(shared, slots)
                self._count(tickets, -1)
                raise CapacityError(message)
            self._warn(tickets, slots)

    def release(self, tickets: Sequence[Ticket]) -> None:
        """A task that was admitted is done."""
        with self._lock:
            self._count(tickets, -1)

    def _count(self, tickets: Sequence[Ticket], by: int) -> None:
        self._tasks += by
        for ticket in tickets:
            self._ends[ticket.route.channel.name, ticket.role] += by

    def _shared(self, tickets: Sequence[Ticket]) -> str | None:
        """A channel of the task whose readers and writers are both here."""
        for ticket in tickets:
            name = ticket.route.channel.name
            if self._ends[name, 'reader'] and self._ends[name, 'writer']:
                return name
        return None

    def _message(self, channel: str, slots: int) -> str:
        readers, writers = self._ends[channel, 'reader'], self._ends[channel, 'writer']
        return (
            f'executor {self._label!r} can run {slots} tasks at once, but {self._tasks} streaming '
            f'tasks would hold its workers, among them {readers} readers and {writers} writers of '
            f'channel {channel!r}, which would wait for each other; submit fewer, allow more '
            'workers or blocks, or run readers and writers on different executors'
        )

    def _warn(self, tickets: Sequence[Ticket], slots: int) -> None:
        for name in {ticket.route.channel.name for ticket in tickets} - self._warned:
            self._warned.add(name)
            logger.warning(
                'executor %r can run %d tasks at once, and has %d streaming tasks: those of '
                'channel %r that wait for a worker start when others end',
                self._label,
                slots,
                self._tasks,
                name,
            )
