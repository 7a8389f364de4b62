"""The session that decorated apps and the functions below use: the one that was loaded last."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parsl_streaming.config import load_config
from parsl_streaming.ends import open_reader
from parsl_streaming.ends import open_writer
from parsl_streaming.errors import UsageError
from parsl_streaming.reader import Reader
from parsl_streaming.session import Session
from parsl_streaming.writer import Writer

_sessions: list[Session] = []
_lock = threading.Lock()


@contextmanager
def load(
    source: Path | str | Mapping[str, Any] = 'streaming.toml', *, architecture: str | None = None
) -> Iterator[Session]:
    """Open a session: provision channels as apps use them, release them at the end.

    Enter it before `parsl.load`, so that it outlives the tasks.

    Args:
        source: A `streaming.toml`, or its content as a mapping.
        architecture: Pins the architecture of every channel that pins none itself.

    Yields:
        The session.

    Raises:
        ConfigError: The configuration is wrong; the message lists every mistake.
        NoRoute: No architecture may carry a channel.
    """
    with Session(load_config(source), architecture) as session:
        with _lock:
            _sessions.append(session)
        try:
            yield session
        finally:
            with _lock:
                _sessions.remove(session)


def current_session() -> Session:
    """The session that was loaded last.

    Raises:
        UsageError: None is loaded.
    """
    with _lock:
        if not _sessions:
            msg = (
                'no session is loaded: use streaming apps and channels inside '
                '`with parsl_streaming.load("streaming.toml"):`'
            )
            raise UsageError(msg)
        return _sessions[-1]


def reader(
    channel: str,
    *,
    group: str | None = None,
    name: str | None = None,
    start: str | None = None,
    manual: bool = False,
) -> Reader:
    """Open a consumer's end of a channel in this process, outside any app.

    Args:
        channel: The channel's name.
        group: The group whose messages it shares; see `Ticket`.
        name: Consumer name; made up if `None`.
        start: Where to begin on a replayable channel: `begin`, `end`, an offset or an ISO time.
        manual: Acknowledge nothing by itself; call `message.ack()`.

    Raises:
        StreamingError: It cannot be opened.
    """
    session = current_session()
    ticket = session.ticket(channel, 'reader', name=name, group=group, start=start)
    return open_reader(ticket.result(session.config.channel(channel).timeout), manual=manual)


def writer(channel: str, *, name: str | None = None) -> Writer:
    """Open a producer's end of a channel in this process, outside any app.

    Args:
        channel: The channel's name.
        name: Producer name; made up if `None`.

    Raises:
        StreamingError: It cannot be opened.
    """
    session = current_session()
    ticket = session.ticket(channel, 'writer', name=name)
    return open_writer(ticket.result(session.config.channel(channel).timeout))
