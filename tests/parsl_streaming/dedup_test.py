from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parsl_streaming.dedup import Deduplicator

NUMBERS = st.integers(1, 12)


@given(st.lists(st.tuples(st.sampled_from('ab'), st.integers(1, 2), NUMBERS)))
def test_each_batch_is_new_once(arrivals: list[tuple[str, int, int]]) -> None:
    seen = Deduplicator()
    taken = [each for each in arrivals if seen.take(*each, 0)]
    assert taken == list(dict.fromkeys(arrivals))
    assert len(seen) == len(taken)


@given(st.lists(st.tuples(NUMBERS, st.integers(0, 12))))
def test_nothing_below_the_floor_is_new(arrivals: list[tuple[int, int]]) -> None:
    seen, floor, taken = Deduplicator(), 0, set()
    for number, stated in arrivals:
        stated = min(stated, number)  # noqa: PLW2901 (a batch is not below its own floor)
        new = number >= floor and number not in taken
        assert seen.take('p', 1, number, stated) == new
        taken.add(number)
        floor = max(floor, stated) if new else floor


def test_what_is_settled_is_forgotten() -> None:
    seen = Deduplicator()
    for number in range(1, 1001):
        assert seen.take('p', 1, number, max(1, number - 10))
    assert len(seen) == 11
    assert not seen.take('p', 1, 5, 0)


def test_what_was_released_may_come_again() -> None:
    seen = Deduplicator()
    assert seen.take('p', 1, 1, 0)
    seen.forget('p', 1, 1)
    seen.forget('p', 1, 99)
    seen.forget('nobody', 1, 1)
    assert seen.take('p', 1, 1, 0)
    assert not seen.take('p', 1, 1, 0)
