"""The installed architectures: found by entry point, or registered in memory."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from typing import Any
from typing import Final
from typing import NamedTuple

from parsl_streaming.configcheck import quoted
from parsl_streaming.configcheck import suggest
from parsl_streaming.errors import ConfigError
from parsl_streaming.errors import UsageError
from parsl_streaming.seam import Architecture

GROUP: Final = 'parsl_streaming.architectures'
"""The entry-point group in which a distribution declares its architectures."""
HOME: Final = 'parsl-streaming'
"""The distribution whose extras may bring what an architecture needs."""

Factory = Callable[..., Architecture]
"""The class of an architecture; its options are keyword arguments, each with a default.

It refuses an option by a `ConfigError` whose text begins with the option's name and a colon.
"""

_in_memory: Final[dict[str, Factory]] = {}


class Missing(NamedTuple):
    """Why an architecture is not installed, and how to get it."""

    reason: str
    remedy: str

    def __str__(self) -> str:
        return f'{self.reason}; {self.remedy}'


def register(name: str, factory: Factory) -> None:
    """Add an architecture to this process, without an entry point, before a configuration names it.

    Args:
        name: Its name, as a rule or a channel would say.
        factory: Its class.

    Raises:
        UsageError: Another architecture has this name.
    """
    if _in_memory.get(name, factory) is not factory or name in _entry_points():
        msg = f'an architecture "{name}" exists already; register yours under another name'
        raise UsageError(msg)
    _in_memory[name] = factory


def unregister(name: str) -> None:
    """Remove an architecture that was registered; nothing happens if there is none."""
    _in_memory.pop(name, None)


def names() -> list[str]:
    """The names of the installed and registered architectures, sorted."""
    return sorted({*_entry_points(), *_in_memory})


def missing(name: str) -> Missing | None:
    """Why an architecture cannot be used in this process; `None` if it can."""
    found = _load(name)
    return found if isinstance(found, Missing) else None


def find(name: str) -> Factory:
    """The class of an architecture.

    Args:
        name: Its name.

    Raises:
        ConfigError: It is not installed, or what it needs is not; the text names those that
            are and what to install.
    """
    found = _load(name)
    if isinstance(found, Missing):
        raise ConfigError(str(found))
    return found


class Catalogue:
    """One instance of each architecture that a session asks for, made when first asked for.

    Args:
        options: The constructor's options for each architecture (`[architectures.NAME]`).
        origin: Where they come from, for messages.

    Raises:
        ConfigError: Options are given for an architecture that is not installed, or that
            does not know them.
    """

    def __init__(
        self, options: Mapping[str, Mapping[str, Any]] | None = None, origin: str = 'options'
    ) -> None:
        self._options = dict(options or {})
        self._origin = origin
        self._made: dict[str, Architecture] = {}
        for name, given in self._options.items():
            self._check(name, given)

    def missing(self, name: str) -> Missing | None:
        """Why an architecture cannot be used in this process; `None` if it can."""
        return None if name in self._made else missing(name)

    def get(self, name: str) -> Architecture:
        """The session's instance of an architecture.

        Args:
            name: Its name.

        Raises:
            ConfigError: It is not installed, or refuses its options.
        """
        if name not in self._made:
            self._made[name] = self._make(name, find(name))
        return self._made[name]

    def _make(self, name: str, factory: Factory) -> Architecture:
        options = self._options.get(name, {})
        try:
            return factory(**options)
        except ConfigError as error:
            # An architecture knows the option that it refuses, but not in which file it stands.
            joint = '.' if str(error).partition(':')[0] in options else ': '
            msg = f'{self._origin}: architectures.{name}{joint}{error}'
            raise ConfigError(msg) from error

    def close(self) -> None:
        """Close every instance; idempotent."""
        while self._made:
            self._made.popitem()[1].close()

    def _check(self, name: str, given: Mapping[str, Any]) -> None:
        path = f'{self._origin}: architectures.{name}'
        if reason := missing(name):
            msg = f'{path}: {reason}'
            raise ConfigError(msg)
        parameters = inspect.signature(find(name)).parameters.values()
        if any(each.kind is each.VAR_KEYWORD for each in parameters):
            return
        known = [each.name for each in parameters if each.kind is not each.VAR_POSITIONAL]
        if wrong := [
            f'{path}.{key}: unknown option; allowed: {quoted(known)}{suggest(key, known)}'
            for key in given
            if key not in known
        ]:
            raise ConfigError('\n'.join(wrong))


@cache
def _entry_points() -> dict[str, metadata.EntryPoint]:
    return {each.name: each for each in metadata.entry_points(group=GROUP)}


def _load(name: str) -> Factory | Missing:
    if name in _in_memory:
        return _in_memory[name]
    point = _entry_points().get(name)
    if point is None:
        return _unknown(name)
    try:
        factory: Factory = point.load()
    except (ImportError, AttributeError) as error:
        home = point.dist.name if point.dist else HOME
        reason = f'architecture "{name}" is installed but cannot be imported ({error})'
        return Missing(reason, _advice(home, name) or f'install what it needs, or {home} again')
    return factory


def _unknown(name: str) -> Missing:
    known = names()
    reason = f'architecture "{name}" is not installed; installed: {quoted(known)}'
    advice = _advice(HOME, name) or (
        f'install a distribution that provides it (entry-point group {GROUP})'
    )
    return Missing(reason + suggest(name, known), advice)


def _advice(distribution: str, extra: str) -> str:
    """How to install an extra; empty if the distribution has none of this name."""
    try:
        extras = metadata.metadata(distribution).get_all('Provides-Extra') or []
    except metadata.PackageNotFoundError:
        return ''
    return f'pip install "{distribution}[{extra}]"' if extra in extras else ''
