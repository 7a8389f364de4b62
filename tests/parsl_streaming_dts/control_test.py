from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_streaming_dts import control

FIELDS = st.lists(st.integers(-(1 << 63), (1 << 64) - 1) | st.text() | st.binary())


@given(st.sampled_from([control.HELLO, control.ACK, control.BYE]), FIELDS)
def test_a_message_comes_back(kind: str, fields: list[Any]) -> None:
    assert control.decode(control.encode(kind, *fields)) == [kind, *fields]


@given(st.binary(max_size=100))
def test_garbage_is_some_list(data: bytes) -> None:
    assert isinstance(control.decode(data), list)


@pytest.mark.parametrize('value', [7, 'hello', {'hello': 1}, None])
def test_what_is_no_list_is_nothing(value: Any) -> None:
    assert control.decode(msgpack.packb(value)) == []


@given(st.integers(0, 1 << 300))
def test_a_mask_comes_back(mask: int) -> None:
    assert control.mask_from_bytes(control.mask_to_bytes(mask)) == mask


def test_an_empty_mask_is_no_bytes() -> None:
    assert control.mask_to_bytes(0) == b''
