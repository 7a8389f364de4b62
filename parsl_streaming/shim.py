"""What runs in the task: opens the ends, calls the app, closes them.

Instances are made once, at decoration, and hold no state of a call: Parsl
caches pickled callables on both sides.
"""

from __future__ import annotations

import inspect
from abc import ABC
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from parsl.app.bash import remote_side_bash_executor

from parsl_streaming.errors import EndOfStream
from parsl_streaming.errors import UsageError
from parsl_streaming.fifo import Fifos
from parsl_streaming.message import Message
from parsl_streaming.reader import Reader
from parsl_streaming.route import Ticket
from parsl_streaming.task import task_ends


class Shim(ABC):
    """Base of the shims: tells the channels' parameters from the app's own.

    Args:
        function: The user's function.
        channels: Names of the channels, by which their tickets come.
        given: Those of them that are parameters of the function.

    Raises:
        UsageError: The function has no parameter of such a name.
    """

    def __init__(
        self, function: Callable[..., Any], channels: tuple[str, ...], given: tuple[str, ...]
    ) -> None:
        self.function = function
        self.channels = channels
        self.__name__ = getattr(function, '__name__', 'app')
        parameters = inspect.signature(function).parameters
        for channel in given:
            if channel not in parameters:
                msg = (
                    f'@streaming gives {self.__name__}() its channel {channel!r} as the parameter '
                    f'of that name, but it has only ({", ".join(parameters)}): add the parameter'
                )
                raise UsageError(msg)

    @abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What Parsl calls in the task; `kwargs` holds a ticket for each channel."""

    def _call(self, ends: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function with its channels in place, and the arguments around them."""
        signature = inspect.signature(self.function)
        own = [p for p in signature.parameters.values() if p.name not in ends]
        bound = signature.replace(parameters=own).bind(*args, **kwargs)
        bound.apply_defaults()  # so that nothing is missing before a positional channel
        call = inspect.BoundArguments(signature, OrderedDict(bound.arguments, **ends))
        return self.function(*call.args, **call.kwargs)

    def _split(self, kwargs: dict[str, Any]) -> tuple[dict[str, Ticket], dict[str, Any]]:
        tickets = {name: kwargs[name] for name in self.channels}
        return tickets, {k: v for k, v in kwargs.items() if k not in self.channels}


class PythonShim(Shim):
    """Gives a python app its ends."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the app; `kwargs` holds a ticket for each channel."""
        tickets, kwargs = self._split(kwargs)
        with task_ends(tickets) as ends:
            return self._call(ends, args, kwargs)


class JoinShim(Shim):
    """Gives a join app references: it runs in the submit process and opens nothing."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the app; `kwargs` holds a reference for each channel."""
        references, kwargs = self._split(kwargs)
        return self._call(references, args, kwargs)


class BashShim(Shim):
    """Gives a bash app a named pipe for each end; each line is a message."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the app's command; `kwargs` holds a ticket for each channel."""
        tickets, kwargs = self._split(kwargs)
        with task_ends(tickets, manual=True) as ends, Fifos(ends) as fifos:
            command = partial(self._command, fifos.paths)
            command.__name__ = self.__name__  # type: ignore[attr-defined]
            status = remote_side_bash_executor(command, *args, **kwargs)
            fifos.finish()
            return status

    def _command(self, paths: Mapping[str, str], *args: Any, **kwargs: Any) -> Any:
        return self._call(paths, args, kwargs)


class MapShim(Shim):
    """Calls an operator for each message, or for each list of messages.

    Args:
        function: The user's function; what it returns is sent, unless `None`.
        reads: The channel that is read: the parameter that takes the message.
        writes: The channel that is written, if any.
        most: Messages per call; `None` gives single messages.
    """

    def __init__(
        self, function: Callable[..., Any], reads: str, writes: tuple[str, ...], most: int | None
    ) -> None:
        super().__init__(function, (reads, *writes), (reads,))
        self.most = most

    def __call__(self, *args: Any, **kwargs: Any) -> int:
        """Run until the stream ends; returns how many messages were dealt with."""
        tickets, kwargs = self._split(kwargs)
        done = 0
        with task_ends(tickets, manual=True) as ends:
            reader, *writers = (ends[name] for name in self.channels)
            assert isinstance(reader, Reader)  # noqa: S101 (the first channel is read)
            while messages := _next(reader, self.most):
                result = self._apply(messages, args, kwargs)
                done += self._settle(messages, result, writers)
        return done

    def _apply(self, messages: list[Message], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = messages if self.most else messages[0]
        try:
            return self._call({self.channels[0]: given}, args, kwargs)
        except Exception as error:  # noqa: BLE001 (whatever the operator raises)
            return _Failed(f'{type(error).__name__}: {error}')

    def _settle(self, messages: list[Message], result: Any, writers: list[Any]) -> int:
        """Send the result; messages whose call raised are delivered again, at last buried."""
        if isinstance(result, _Failed):
            for message in messages:
                message.nack(reason=result.reason)
            return 0
        if result is not None:
            for writer in writers:
                writer.send(result)
        for message in messages:
            message.ack()
        return len(messages)


@dataclass(frozen=True, slots=True)
class _Failed:
    reason: str


def _next(reader: Reader, most: int | None) -> list[Message]:
    try:
        return reader.receive_many(most or 1)
    except EndOfStream:
        return []
