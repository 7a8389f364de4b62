from __future__ import annotations

import math

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_streaming.latency import Latencies

SECONDS = st.floats(1e-6, 1e5)


@given(st.lists(SECONDS, min_size=1), st.floats(0.001, 1))
def test_a_quantile_is_right_within_a_twentieth(seconds: list[float], q: float) -> None:
    latencies = Latencies()
    for each in seconds:
        latencies.add(each)
    exact = sorted(seconds)[max(0, math.ceil(q * len(seconds)) - 1)]
    assert latencies.quantile(q) == pytest.approx(exact, rel=0.045)
    assert (latencies.quantile(q) or 0) >= exact * (1 - 1e-9)


@given(st.lists(st.lists(SECONDS)))
def test_merging_is_counting_together(parts: list[list[float]]) -> None:
    histograms = []
    together = Latencies()
    for part in parts:
        histograms.append(Latencies())
        for each in part:
            histograms[-1].add(each)
            together.add(each)
    assert Latencies().merge(histograms).as_dict() == together.as_dict()


def test_nothing_counted_has_no_quantile() -> None:
    assert Latencies().quantile(0.5) is None


@pytest.mark.parametrize('seconds', [0.0, -5.0, 1e-9])
def test_clocks_may_disagree(seconds: float) -> None:
    latencies = Latencies()
    latencies.add(seconds, 3)
    assert latencies.quantile(1) == 1e-6
    assert sum(latencies.as_dict().values()) == 3


def test_counts_travel() -> None:
    latencies = Latencies()
    latencies.add(0.5, 10)
    data = msgpack.packb(latencies.as_dict())
    assert Latencies(msgpack.unpackb(data, strict_map_key=False)).quantile(0.5) == pytest.approx(
        0.5, rel=0.045
    )
