from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_streaming.bench.plan import CHANNEL
from parsl_streaming.bench.plan import Plan
from parsl_streaming.config import load_config
from parsl_streaming.spec import Pattern


def make_plan(**changes: Any) -> Plan:
    values = {
        'architecture': 'dts',
        'workload': 'deleria',
        'pattern': Pattern.WORK_SHARING,
        'producers': 1,
        'consumers': 1,
        'messages': 100,
    }
    return Plan(**(values | changes))


@given(
    messages=st.integers(1, 100_000),
    producers=st.integers(1, 64),
    workload=st.sampled_from(['deleria', 'lcls', 'generic']),
)
def test_producers_share_the_messages(messages: int, producers: int, workload: str) -> None:
    plan = make_plan(messages=messages, producers=producers, workload=workload)
    assert sum(plan.counts) == messages + producers * plan.warm_up
    assert max(plan.counts) - min(plan.counts) <= 1
    assert plan.warm_up >= 1


def test_a_window_of_requests_is_the_workloads_unless_given() -> None:
    assert make_plan(workload='generic').window == 16
    assert make_plan(in_flight=3).window == 3


@pytest.mark.parametrize('pattern', list(Pattern))
def test_the_configuration_is_without_mistakes(pattern: Pattern) -> None:
    plan = make_plan(pattern=pattern, producers=2, consumers=3, sealed=False, limit=7)
    spec = load_config(plan.config('somewhere')).channel(CHANNEL)
    assert (spec.pattern, spec.writers, spec.readers) == (pattern, 2, 3)
    assert not spec.sealed
    assert spec.timeout == 7
    assert spec.partitions == (12 if pattern is Pattern.SHUFFLE else 1)
