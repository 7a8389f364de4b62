"""The index of a batch: where each message lies in the body, and what it is.

Columns that are the same for every message travel once. The index is a msgpack
list `[lengths, codecs, metas, keys, headers, refs]`; lengths is a number when
uniform, the others are `[0, value]` when uniform, else `[1, [value, ...]]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import msgpack

from parsl_streaming.errors import IntegrityError
from parsl_streaming.seam import Buffer

COLUMNS = 5
_EXACT = {int, str, bytes, type(None)}
"""Types of which equal values have equal bytes."""


class IndexBuilder:
    """Collects the index of an open batch.

    `uniform` stays true while every message looks like the first: the usual
    case, in which only lengths are kept.
    """

    __slots__ = ('_first', '_rows', 'lengths')

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self._first: tuple[Any, ...] | None = None
        self._rows: list[tuple[Any, ...]] | None = None

    def add(self, length: int, row: tuple[Any, ...]) -> None:
        """Append a message: its length in bytes, and (codec, meta, key, headers, ref)."""
        if self._rows is not None:
            self._rows.append(row)
        elif self._first is None:
            self._first = row
        elif row != self._first or not _same(row, self._first):
            self._rows = [self._first] * len(self.lengths)
            self._rows.append(row)
        self.lengths.append(length)

    def take(self, count: int) -> IndexBuilder:
        """Move the oldest `count` messages into an index of their own."""
        taken = IndexBuilder()
        taken._first = self._first
        taken.lengths, self.lengths = self.lengths[:count], self.lengths[count:]
        if self._rows is not None:
            taken._rows, self._rows = self._rows[:count], self._rows[count:]
        return taken

    def encode(self) -> bytes:
        """The index as bytes."""
        columns: Sequence[Any]
        if self._rows is None:
            columns = [(0, value) for value in self._first or (0, None, None, None, None)]
        else:
            columns = [_column(list(values)) for values in zip(*self._rows, strict=True)]
        lengths = self.lengths
        same = bool(lengths) and lengths.count(lengths[0]) == len(lengths)
        packed: bytes = msgpack.packb([lengths[0] if same else lengths, *columns])
        return packed


def _same(row: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether equal rows have the same key and headers to the bit: 1 == 1.0 == True."""
    if row[2] is None and row[3] is None:
        return True
    same: bool = msgpack.packb(row[2:4]) == msgpack.packb(other[2:4])
    return same


def _column(values: list[Any]) -> tuple[int, Any]:
    """One value if they are all the same, to the bit."""
    first = values[0]
    kinds = set(map(type, values))
    if values.count(first) < len(values) or len(kinds) > 1:
        return 1, values
    exact = kinds <= _EXACT or len(set(map(msgpack.packb, values))) == 1
    return (0, first) if exact else (1, values)


class Index:
    """The decoded index of a batch.

    Args:
        data: The encoded index.
        count: Number of messages that the head states.
        body_len: Length of the (opened) body in bytes.

    Raises:
        IntegrityError: The index is damaged or does not fit the body.
    """

    __slots__ = ('_columns', 'starts')

    def __init__(self, data: Buffer, count: int, body_len: int) -> None:
        try:
            lengths, *self._columns = msgpack.unpackb(data, strict_map_key=False)
            starts = _starts(lengths, count, body_len)
            fits = all(_fits(column, count) for column in self._columns)
        except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
            msg = f'the index of a batch cannot be decoded ({error}); not delivered'
            raise IntegrityError(msg) from error
        if starts is None or not fits or len(self._columns) != COLUMNS:
            msg = 'the index of a batch does not fit its body; not delivered'
            raise IntegrityError(msg)
        self.starts = starts

    def row(self, i: int) -> tuple[Any, ...]:
        """(codec, meta, key, headers, ref) of message i."""
        return tuple(value[i] if many else value for many, value in self._columns)


def _starts(lengths: Any, count: int, body_len: int) -> Sequence[int] | None:
    if isinstance(lengths, int):
        if lengths < 0 or lengths * count != body_len:
            return None
        return range(0, body_len + 1, lengths) if lengths else [0] * (count + 1)
    if len(lengths) != count or any(not isinstance(n, int) or n < 0 for n in lengths):
        return None
    starts = list(accumulate(lengths, initial=0))
    return starts if starts[-1] == body_len else None


def _fits(column: Any, count: int) -> bool:
    many, value = column
    return many == 0 or (many == 1 and isinstance(value, list) and len(value) == count)
