"""Entries: what goes in comes out, and nothing foreign is taken for a batch."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_streaming.errors import IntegrityError
from parsl_streaming.seam import Flag
from parsl_streaming_mss.entry import batch_of
from parsl_streaming_mss.entry import end_batch
from parsl_streaming_mss.entry import end_value
from parsl_streaming_mss.entry import pairs


def test_an_end_comes_back_as_it_was(tools: Any) -> None:
    batch = tools.make_batch(7, b'why', flags=Flag.END | Flag.ABORT, count=0)
    again = end_batch(end_value(batch))
    assert (again.number, again.flags, bytes(again.body)) == (7, batch.flags, b'why')


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_decoder(data: Any) -> None:
    for decode in (end_batch, lambda body: batch_of([b'h', body, b'b', body])):
        with pytest.raises(IntegrityError):
            decode(data)


def test_an_entry_of_somebody_else_is_refused() -> None:
    with pytest.raises(IntegrityError, match='who else uses'):
        batch_of([b'fence', b'1'])


def test_flat_lists_are_mappings() -> None:
    assert pairs([b'a', 1, b'b', [2]]) == {b'a': 1, b'b': [2]}
