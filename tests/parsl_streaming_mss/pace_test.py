"""A reader takes as much at once as it works off in a moment."""

from __future__ import annotations

import pytest

from parsl_streaming_mss import pace
from parsl_streaming_mss.pace import Pace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(pace.time, 'monotonic', lambda: now[0])
    return now


def work(own: Pace, clock: list[float], *, seconds: float, nbytes: int) -> None:
    for _ in range(50):
        own.handed(nbytes)
        clock[0] += seconds
        own.asked()


def test_a_reader_begins_with_one_batch() -> None:
    assert Pace().count(1) == 1


def test_a_slow_reader_takes_one_at_a_time_and_a_quick_one_many(clock: list[float]) -> None:
    own = Pace()
    work(own, clock, seconds=0.001, nbytes=1000)
    assert (own.count(1), own.count(10), own.count(1000)) == (49, 4, 1)
    work(own, clock, seconds=0.0, nbytes=1000)
    assert own.count(1) == pace.FETCH_BATCHES
    work(own, clock, seconds=1.0, nbytes=1000)
    assert own.count(1) == 1


def test_large_batches_are_taken_one_by_one(clock: list[float]) -> None:
    own = Pace()
    work(own, clock, seconds=0.0, nbytes=pace.FETCH_BYTES)
    assert own.count(1) == 1


def test_asking_without_having_got_anything_says_nothing(clock: list[float]) -> None:
    own = Pace()
    work(own, clock, seconds=0.001, nbytes=1000)
    before = own.count(1)
    clock[0] += 100
    own.asked()
    assert own.count(1) == before
