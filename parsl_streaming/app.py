"""`@streaming`: gives channels to a Parsl app.

At the call, each channel becomes the future of a ticket, so that
provisioning runs in the background and the task waits for it as for any
dependency. In the task, the shim opens the ends, calls the app, and closes them
whatever happens.
"""

from __future__ import annotations

import copy
import inspect
import logging
import secrets
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from parsl.app.app import AppBase
from parsl.app.bash import BashApp
from parsl.app.errors import wrap_error
from parsl.dataflow.futures import AppFuture

from parsl_streaming.current import current_session
from parsl_streaming.errors import UsageError
from parsl_streaming.route import Ticket
from parsl_streaming.session import Session
from parsl_streaming.shim import BashShim
from parsl_streaming.shim import JoinShim
from parsl_streaming.shim import MapShim
from parsl_streaming.shim import PythonShim
from parsl_streaming.shim import Shim
from parsl_streaming.version import VERSION

logger = logging.getLogger(__name__)

Names = str | Sequence[str]
App = Callable[..., Any]
"""What Parsl's decorators are declared to return; in truth an `AppBase`."""
_MISSING = "No module named 'parsl_streaming'"


@dataclass(frozen=True, slots=True)
class ChannelReference:
    """Names a channel for another app: what a join app gets in place of an end."""

    channel: str


class StreamingApp(AppBase):
    """A Parsl app with channels.

    Args:
        app: A copy of what `python_app`, `bash_app` or `join_app` made, with the
            shim in place of the user's function.
        shim: The shim.
        roles: `reader` or `writer`, by channel.
        group: The readers' group.
        start: Where its readers of a replayable channel begin.
    """

    def __init__(
        self,
        app: AppBase,
        shim: Shim,
        roles: Mapping[str, str],
        group: str | None,
        start: str | None,
    ) -> None:
        self.app = _with_shim(app, shim)
        self.__name__ = shim.__name__
        self.__doc__ = shim.function.__doc__
        self._shim = shim
        self._roles = roles
        self._group = group
        self._start = start

    def __call__(self, *args: Any, **kwargs: Any) -> AppFuture:
        """Submit the app.

        Args:
            *args: The app's own arguments, without the channels.
            **kwargs: Likewise; `channel=reference` passes on what a join app was given.

        Raises:
            UsageError: No session is loaded.
            UnknownChannel: A channel is not configured.
        """
        session = current_session()
        references = {channel: self._reference(channel, kwargs) for channel in self._roles}
        for reference in references.values():
            session.config.channel(reference.channel)  # before any end is declared
        call = secrets.token_hex(8)
        places: dict[str, Any] = {}
        try:
            for channel, reference in references.items():
                places[channel] = self._place(session, reference, self._roles[channel], call)
            future = self.app(*args, **kwargs, **places)
        except BaseException as error:
            _report(session, places, error)
            raise
        future.add_done_callback(lambda done: _report(session, places, done.exception()))
        return future

    def _reference(self, channel: str, kwargs: dict[str, Any]) -> ChannelReference:
        """What the caller passed on for a channel, else the channel of the parameter's name."""
        reference = kwargs.pop(channel, ChannelReference(channel))
        if not isinstance(reference, ChannelReference):
            msg = (
                f'{self.__name__}() is given its channels by @streaming: call it without them '
                f'(not with a {type(reference).__name__})'
            )
            raise UsageError(msg)
        return reference

    def _place(self, session: Session, reference: ChannelReference, role: str, call: str) -> Any:
        if isinstance(self._shim, JoinShim):
            return reference
        reads = role == 'reader'
        return session.ticket(
            reference.channel,
            role,
            label=self.__name__,
            call=call,
            group=self._group if reads else None,
            start=self._start if reads else None,
        )


class MappedApp:
    """An operator; a call submits all of its workers.

    Args:
        app: What each worker runs.
        workers: How many there are.
    """

    def __init__(self, app: StreamingApp, workers: int) -> None:
        self.app = app
        self.workers = workers
        self.__name__ = app.__name__
        self.__doc__ = app.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> list[AppFuture]:
        """Submit the workers; each future gives how many messages its worker dealt with."""
        return [self.app(*args, **kwargs) for _ in range(self.workers)]


def _with_shim(app: AppBase, shim: Shim) -> AppBase:
    """A copy of the app that calls the shim; the app itself stays as it was."""
    shimmed = copy.copy(app)
    shimmed.func = wrap_error(shim)
    if isinstance(shimmed, BashApp):
        shimmed.wrapped_remote_function = shimmed.func
    return shimmed


def _report(session: Session, places: Mapping[str, Any], error: BaseException | None) -> None:
    """When the task failed for good, its ends will not come: tell the others."""
    if error is None:
        return
    reason = f'{type(error).__name__}: {error}'
    if _MISSING in reason:
        reason = f'parsl_streaming {VERSION} is not installed where the task ran; install it there'
        logger.error('%s', reason)
    for place in places.values():
        if isinstance(place, Future):
            place.add_done_callback(partial(_fail, session, reason))


def _fail(session: Session, reason: str, ticket: Future[Ticket]) -> None:
    if ticket.exception() is None:
        session.fail(ticket.result(), reason)


class Streaming:
    """The decorator `streaming`, and `streaming.map`."""

    def __call__(
        self,
        *,
        reads: Names = (),
        writes: Names = (),
        group: str | None = None,
        start: str | None = None,
    ) -> Callable[[App], StreamingApp]:
        """Give channels to a Parsl app. Put it above `@python_app`, `@bash_app` or `@join_app`.

        In a python app each channel's parameter is a `Reader` or `Writer`; in a
        bash app the path of a named pipe that carries a message per line; in a
        join app a reference to pass on as `app(channel=reference)`.

        Args:
            reads: Channels that the app reads: names of parameters.
            writes: Channels that it writes: names of parameters.
            group: Readers of one group share the messages; each group gets all.
            start: Where to begin on a replayable channel: `begin`, `end`, an
                offset or an ISO time.

        Raises:
            UsageError: Wrong order of decorators, a missing parameter, or a
                memoised app.
        """
        roles = _roles(_names(reads), _names(writes))

        def decorate(app: App) -> StreamingApp:
            plain = _plain_app(app)
            shim = _shim_kind(plain)(_function_of(plain), tuple(roles), tuple(roles))
            return StreamingApp(plain, shim, roles, group, start)

        return decorate

    def map(
        self,
        *,
        reads: str,
        writes: Names = (),
        workers: int = 1,
        batch: int | None = None,
        group: str | None = None,
    ) -> Callable[[App], MappedApp]:
        """Call a python app for each message of a channel.

        The function takes the message as the parameter named like the channel,
        and its result, unless `None`, is sent. When it raises, the message is
        delivered again, and goes to the dead-letter log at last. Calling the
        app submits its workers and returns their futures.

        Args:
            reads: The channel that is read.
            writes: Channels that get the results.
            workers: Tasks that share the messages.
            batch: Call with a list of at most so many messages instead.
            group: The workers' group.

        Raises:
            UsageError: As `streaming`; or no python app, no worker, or an empty batch.
        """
        roles = _roles((reads,), _names(writes))
        for name, number in (('workers', workers), ('batch', batch)):
            if number is not None and number < 1:
                msg = f'streaming.map({name}={number}) would read nothing: give at least 1'
                raise UsageError(msg)

        def decorate(app: App) -> MappedApp:
            plain = _plain_app(app)
            if _shim_kind(plain) is not PythonShim:
                msg = (
                    f'{plain.__name__}(): streaming.map calls a function for each message: '
                    'put it above @python_app'
                )
                raise UsageError(msg)
            shim = MapShim(_function_of(plain), reads, _names(writes), batch)
            return MappedApp(StreamingApp(plain, shim, roles, group, None), workers)

        return decorate


streaming = Streaming()


def _names(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _roles(reads: tuple[str, ...], writes: tuple[str, ...]) -> dict[str, str]:
    if not (reads or writes) or set(reads) & set(writes):
        msg = '@streaming needs reads= or writes=, and each channel in one of them'
        raise UsageError(msg)
    return dict.fromkeys(reads, 'reader') | dict.fromkeys(writes, 'writer')


def _plain_app(app: object) -> AppBase:
    """Refuse what cannot be given channels."""
    if not isinstance(app, AppBase) or isinstance(app, StreamingApp):
        msg = (
            f'@streaming was given {app!r}, which is no plain Parsl app: write '
            '@streaming(...) once, on the line above @python_app, @bash_app or @join_app'
        )
        raise UsageError(msg)
    if app.cache:
        msg = (
            f'{app.__name__}(): a streaming app cannot be memoised, its messages would be missing '
            'the second time; remove cache=True'
        )
        raise UsageError(msg)
    return app


def _function_of(app: AppBase) -> Callable[..., Any]:
    """The user's function inside a Parsl app."""
    function: Callable[..., Any] = inspect.unwrap(app.func)
    return function


def _shim_kind(app: AppBase) -> type[Shim]:
    if isinstance(app, BashApp):
        return BashShim
    return JoinShim if getattr(app, 'join', False) else PythonShim
