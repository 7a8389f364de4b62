"""The ends of one task: opened together, finished or failed together."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Final

from parsl_streaming.ends import open_reader
from parsl_streaming.ends import open_writer
from parsl_streaming.errors import StreamingError
from parsl_streaming.reader import Reader
from parsl_streaming.route import Ticket
from parsl_streaming.writer import Writer

_attempt: Final = ContextVar('attempt', default=1)

logger = logging.getLogger(__name__)

Ends = dict[str, Reader | Writer]
"""A task's ends by the parameter that they are given to."""


def attempt() -> int:
    """Which try of its call the running task is, from 1; on an executor of ours."""
    return _attempt.get()


@contextmanager
def task_ends(tickets: dict[str, Ticket], *, manual: bool = False) -> Iterator[Ends]:
    """Open the ends of a task, and close them whatever happens.

    What the task reads is acknowledged after what it wrote because of it is
    safe. When the body raises, unacknowledged messages are given back, and the
    writers' streams are aborted until a retry or, at last, the submit side says
    that none will come.

    Args:
        tickets: The task's tickets by parameter.
        manual: Readers acknowledge nothing by themselves.
    """
    number = _attempt.set(max((ticket.attempt for ticket in tickets.values()), default=1))
    writers: dict[str, Writer] = {}
    readers: dict[str, Reader] = {}
    try:
        for name, ticket in _of('writer', tickets):
            writers[name] = open_writer(ticket)
        outputs = list(writers.values())
        for name, ticket in _of('reader', tickets):
            readers[name] = open_reader(ticket, manual=manual, outputs=outputs)
        yield {**readers, **writers}
        for reader in readers.values():
            reader.close()
        for writer in writers.values():
            writer.close()
    except BaseException as error:
        reason = f'{type(error).__name__}: {error}'
        for reader in readers.values():
            _quietly(partial(reader.abandon, retry=True))
        for writer in writers.values():
            _quietly(partial(writer.abort, reason, retry=True))
        raise
    finally:
        _attempt.reset(number)


def _quietly(leave: Callable[[], None]) -> None:
    """Leave one end of a failed task; what goes wrong then hides neither cause nor other ends."""
    try:
        leave()
    except StreamingError as error:
        logger.warning('an end of a failed task: %s', error)


def _of(role: str, tickets: dict[str, Ticket]) -> Iterable[tuple[str, Ticket]]:
    return [(name, ticket) for name, ticket in tickets.items() if ticket.role == role]
