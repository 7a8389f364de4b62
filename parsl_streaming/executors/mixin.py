"""What our executors add to Parsl's."""

from __future__ import annotations

import inspect
import threading
from collections import Counter
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from parsl.app.errors import RemoteExceptionWrapper
from parsl.executors.base import ParslExecutor

from parsl_streaming.current import load
from parsl_streaming.executors.capacity import Capacity
from parsl_streaming.route import Ticket

Source = str | Mapping[str, Any] | None
"""A `streaming.toml`, its content, or nothing."""


class StreamingMixin(ParslExecutor):
    """Stamps each try of a streaming task, checks that there are workers for it, runs a session.

    To stand before an executor of Parsl's among the bases of a class.
    """

    streaming: Source

    def prepare(self, streaming: Source) -> None:
        """To call at the end of the constructor.

        Args:
            streaming: A `streaming.toml`, or its content, for which a session is loaded as long
                as the executor runs. One executor of a `Config` is enough.
        """
        self.streaming = streaming
        self._session = ExitStack()
        self._capacity = Capacity(self.label)
        self._tries: Counter[str] = Counter()
        self._lock = threading.Lock()

    def slots(self) -> int | None:
        """Tasks that can run at once, with every block there may be; `None` if unknown."""
        return None

    def start(self) -> None:
        """Load the session, then start the executor."""
        if self.streaming is not None:
            self._session.enter_context(load(self.streaming))
        try:
            super().start()
        except BaseException:
            self._session.close()
            raise

    def submit(
        self,
        func: Callable[..., Any],
        resource_specification: dict[str, Any],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Submit a task; see the executor's own `submit`.

        Raises:
            CapacityError: A streaming task could wait for ever.
        """
        tickets = [value for value in kwargs.values() if isinstance(value, Ticket)]
        if not tickets:
            return self._pass_on(func, resource_specification, *args, **kwargs)
        self._capacity.admit(tickets, self.slots())
        try:
            specification = self.rank(resource_specification, tickets)
            future = self._pass_on(func, specification, *args, **self._stamp(kwargs, tickets))
        except BaseException:
            self._capacity.release(tickets)
            raise
        future.add_done_callback(partial(self._done, tickets))
        return future

    def _pass_on(self, *args: Any, **kwargs: Any) -> Any:
        return super().submit(*args, **kwargs)  # type: ignore[safe-super] # Parsl's comes next

    def rank(self, specification: dict[str, Any], tickets: list[Ticket]) -> dict[str, Any]:
        """The task's resource specification, with its place in the queue if it has one."""
        del tickets
        return specification

    def _stamp(self, kwargs: dict[str, Any], tickets: list[Ticket]) -> dict[str, Any]:
        """The arguments, with the number of this try in each ticket."""
        call = tickets[0].call
        with self._lock:
            self._tries[call] += 1
            attempt = self._tries[call]
        return {
            name: replace(value, attempt=attempt) if isinstance(value, Ticket) else value
            for name, value in kwargs.items()
        }

    def _done(self, tickets: list[Ticket], future: Any) -> None:
        self._capacity.release(tickets)
        failed = future.cancelled() or future.exception() is not None
        # Parsl carries what an app raised as its result.
        if not failed and not isinstance(future.result(), RemoteExceptionWrapper):
            with self._lock:
                self._tries.pop(tickets[0].call, None)

    def shutdown(self, *args: Any, **kwargs: Any) -> None:
        """Stop the executor, then close the session."""
        try:
            super().shutdown(*args, **kwargs)
        finally:
            self._session.close()


def takes_those_of(base: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Shows a constructor's `**kwargs` as the base's parameters, to people and to Parsl's repr."""

    def decorate(init: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(init).parameters.values()
        inherited = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]
        extra = [p for p in own if p.kind is p.KEYWORD_ONLY]
        init.__signature__ = inspect.Signature([*inherited, *extra])  # type: ignore[attr-defined]
        return init

    return decorate
