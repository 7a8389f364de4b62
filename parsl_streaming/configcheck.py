"""Reading the tables of a configuration: every mistake is collected, none is guessed at.

A schema maps each key of a table to a reader: a function that turns the value
found into the value meant, or raises `ValueError` with the allowed values.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from typing import Final
from typing import TypeVar

from parsl_streaming.errors import ConfigError

Reader = Callable[[Any], Any]
Number = int | float
Choice = TypeVar('Choice', bound=StrEnum)

SIZES: Final = {'B': 1} | {
    f'{prefix}{end}': base**power
    for end, base in (('B', 1000), ('iB', 1024))
    for power, prefix in enumerate('kMGT' if end == 'B' else 'KMGT', start=1)
}
"""Bytes per unit: B, kB, MB, GB, TB and KiB, MiB, GiB, TiB."""
DURATIONS: Final = {'us': 1e-6, 'ms': 1e-3, 's': 1.0, 'min': 60.0, 'h': 3600.0, 'd': 86400.0}
"""Seconds per unit."""

_MAX_SHOWN: Final = 60
_QUANTITY: Final = re.compile(r'\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*')
_PASSWORD_IN_URL: Final = re.compile(r'(?<=://)\S*:\S*(?=@)')


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "..."?` when a known word is close to this one, else nothing."""
    folded = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return f'; did you mean "{folded[close[0]]}"?' if close else ''


def quoted(words: Iterable[str]) -> str:
    """The words in quotation marks, sorted, with commas between them."""
    return ', '.join(f'"{word}"' for word in sorted(words)) or 'none'


def holds_password(value: object) -> bool:
    """Whether a text is a URL that carries a password."""
    return isinstance(value, str) and _PASSWORD_IN_URL.search(value) is not None


def show(value: object) -> str:
    """A value as TOML would write it, cut to a readable length, without a URL's password."""
    text = _PASSWORD_IN_URL.sub('...', json.dumps(value, default=str, ensure_ascii=False))
    return text if len(text) <= _MAX_SHOWN else f'{text[: _MAX_SHOWN - 3]}...'


class Problems:
    """The mistakes found so far in one configuration.

    Args:
        origin: The file's name, with which each line of the error begins.
    """

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.lines: list[str] = []

    def add(self, path: str, text: str) -> None:
        """Note one mistake at a dotted path."""
        line = f'{self.origin}: {path}: {text}'
        if line not in self.lines:
            self.lines.append(line)

    def check(self) -> None:
        """Report everything that was noted.

        Raises:
            ConfigError: There was a mistake; its text has one line for each.
        """
        if self.lines:
            raise ConfigError('\n'.join(self.lines))

    def table(self, path: str, value: object) -> Mapping[str, Any]:
        """The value if it is a table, else an empty one and a mistake."""
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return value
        self.add(path, f'found {show(value)}; allowed: a table')
        return {}

    def read(
        self, path: str, value: object, schema: Mapping[str, Reader], required: Collection[str] = ()
    ) -> dict[str, Any]:
        """Read a table: what its good keys mean; the others are noted as mistakes."""
        table = self.table(path, value)
        prefix = f'{path}.' if path else ''
        result = {}
        for key, found in table.items():
            if key not in schema:
                hint = suggest(key, schema)
                self.add(f'{prefix}{key}', f'unknown key; allowed: {quoted(schema)}{hint}')
                continue
            try:
                result[key] = schema[key](found)
            except ValueError as error:
                self.add(f'{prefix}{key}', f'found {show(found)}; allowed: {error}')
        for key in required:
            if key not in table:
                self.add(f'{prefix}{key}', 'missing; this key is required')
        return result


def text(value: object) -> str:
    """Read a text that is not empty."""
    if isinstance(value, str) and value.strip():
        return str(value)
    msg = 'a text that is not empty'
    raise ValueError(msg)


def path(value: object) -> str:
    """Read a path."""
    return text(os.fspath(value) if isinstance(value, os.PathLike) else value)


def flag(value: object) -> bool:
    """Read a truth value."""
    if isinstance(value, bool):
        return value
    msg = 'true or false'
    raise ValueError(msg)


def one_of(known: Iterable[str]) -> Callable[[Any], str]:
    """Make a reader of one of the known words."""
    words = sorted(known)

    def read(value: object) -> str:
        if isinstance(value, str) and value in words:
            return str(value)
        raise ValueError(quoted(words) + (suggest(value, words) if isinstance(value, str) else ''))

    return read


def member_of(kind: type[Choice]) -> Callable[[Any], Choice]:
    """Make a reader of a member of an enumeration."""
    read = one_of(kind)
    return lambda value: kind(read(value))


def list_of(reader: Reader) -> Callable[[Any], tuple[Any, ...]]:
    """Make a reader of a list, not empty, whose items the given reader reads."""

    def read(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or not value:
            example = f', such as {show([value])}' if isinstance(value, str | Number) else ''
            msg = f'a list that is not empty{example}'
            raise ValueError(msg)
        return tuple(map(reader, value))

    return read


def count(least: int = 1, most: int | None = None) -> Callable[[Any], int]:
    """Make a reader of a whole number within limits."""
    allowed = f'a whole number of at least {least}'
    if most is not None:
        allowed = f'a whole number from {least} to {most}'

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(allowed)  # noqa: TRY004 (every reader raises the same error)
        if value < least or (most is not None and value > most):
            raise ValueError(allowed)
        return value

    return read


def size(least: int = 1, most: float = math.inf) -> Callable[[Any], int]:
    """Make a reader of a size in bytes: a number, or a text such as "64 MiB"."""
    upper = '' if most == math.inf else f', at most {most}'
    allowed = f'bytes, or a text such as "64 MiB" ({", ".join(SIZES)}), at least {least}{upper}'

    def read(value: object) -> int:
        number = _quantity(value, SIZES)
        if number is None or number != int(number) or not least <= number <= most:
            raise ValueError(allowed)
        return int(number)

    return read


def duration(least: float = 0.0) -> Callable[[Any], float]:
    """Make a reader of a duration in seconds: a number, or a text such as "10 ms"."""
    allowed = f'seconds, or a text such as "10 ms" ({", ".join(DURATIONS)}), at least {least:g} s'

    def read(value: object) -> float:
        number = _quantity(value, DURATIONS)
        if number is None or number < least:
            raise ValueError(allowed)
        return float(number)

    return read


def _quantity(value: object, units: Mapping[str, Number]) -> Number | None:
    """A finite number of base units, or `None` if the value is no such thing."""
    if isinstance(value, str) and (match := _QUANTITY.fullmatch(value)):
        unit = units.get(match[2])
        value = None if unit is None else round(float(match[1]) * unit, 9)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value
