from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_streaming.errors import IntegrityError
from parsl_streaming.index import Index
from parsl_streaming.index import IndexBuilder

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-1, 1) | st.text(max_size=2)
ROWS = st.tuples(
    st.integers(0, 4),
    st.none() | st.lists(st.integers(0, 3), max_size=2),
    SCALARS,
    st.none() | st.dictionaries(st.text(max_size=1), SCALARS, max_size=2),
    st.none() | st.integers(0, 9),
)
MESSAGES = st.lists(st.tuples(st.integers(0, 5), ROWS), min_size=1, max_size=20)


def build(messages: list[tuple[int, Any]]) -> IndexBuilder:
    builder = IndexBuilder()
    for length, row in messages:
        builder.add(length, row)
    return builder


def check(builder: IndexBuilder, messages: list[tuple[int, Any]]) -> None:
    total = sum(length for length, _ in messages)
    index = Index(builder.encode(), len(messages), total)
    assert list(index.starts)[-1] == total
    for i, (length, row) in enumerate(messages):
        assert index.starts[i + 1] - index.starts[i] == length
        # repr tells 1 from True and 0.0 from -0.0, which are equal but not the same.
        assert repr(index.row(i)) == repr(row)


@given(MESSAGES)
def test_every_row_comes_back_to_the_bit(messages: list[tuple[int, Any]]) -> None:
    check(build(messages), messages)


@given(MESSAGES, st.data())
def test_taking_the_oldest_splits_the_index(
    messages: list[tuple[int, Any]], data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, len(messages)))
    rest = build(messages)
    check(rest.take(count), messages[:count])
    if messages[count:]:
        check(rest, messages[count:])
    later = [(3, (1, None, 'later', None, None))]
    rest.add(*later[0])
    check(rest, messages[count:] + later)


def test_equal_keys_of_other_types_stay_apart() -> None:
    messages: list[tuple[int, Any]] = [(1, (1, None, key, None, None)) for key in (1, True, 1.0)]
    check(build(messages), messages)


def test_uniform_rows_travel_once() -> None:
    row = (2, ['<f8', [100, 100]], 'key', {'run': 7}, None)
    one, many = build([(8, row)]), build([(8, row)] * 1000)
    assert len(many.encode()) == len(one.encode())


@given(st.binary(max_size=200), st.integers(0, 70000), st.integers(0, 1 << 40))
def test_nothing_but_an_integrity_error_comes_of_garbage(
    data: bytes, count: int, body_len: int
) -> None:
    try:
        index = Index(data, count, body_len)
    except IntegrityError:
        return
    assert index.starts[count] == body_len


@given(st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=7), max_leaves=20))
def test_nothing_but_an_integrity_error_comes_of_other_values(value: Any) -> None:
    try:
        index = Index(msgpack.packb(value), 2, 4)
    except IntegrityError:
        return
    for i in range(2):
        assert len(index.row(i)) == 5


@pytest.mark.parametrize(
    ('lengths', 'count', 'body_len'),
    [
        (2, 2, 5),
        (-2, 2, -4),
        ([1, 2], 2, 4),
        ([5, -1], 2, 4),
        ([4], 2, 4),
        ([2, 'x'], 2, 4),
        (None, 2, 4),
        (1.0, 2, 2),
    ],
)
def test_lengths_must_fit(lengths: Any, count: int, body_len: int) -> None:
    data = msgpack.packb([lengths, *[(0, None)] * 5])
    with pytest.raises(IntegrityError):
        Index(data, count, body_len)


@pytest.mark.parametrize(
    'columns',
    [
        [(0, None)] * 4,
        [(0, None)] * 6,
        [(2, None)] * 5,
        [(1, [None])] * 5,
        [(1, 'ab')] * 5,
        [None] * 5,
        [(0,)] * 5,
    ],
)
def test_columns_must_fit(columns: Any) -> None:
    with pytest.raises(IntegrityError):
        Index(msgpack.packb([2, *columns]), 2, 4)
