from __future__ import annotations

from typing import Any

import pytest

from parsl_streaming.bench.compare import against
from parsl_streaming.bench.compare import baselines_of
from parsl_streaming.bench.compare import compare
from parsl_streaming.bench.compare import summary
from parsl_streaming.bench.plan import Plan
from parsl_streaming.errors import UsageError
from parsl_streaming.spec import Pattern


def make_plan(**changes: Any) -> Plan:
    values = {
        'architecture': 'dts',
        'workload': 'deleria',
        'pattern': Pattern.WORK_SHARING,
        'producers': 1,
        'consumers': 1,
        'messages': 100,
        'limit': 30,
    }
    return Plan(**(values | changes))


def make_round(rate: float, p50: float | None = None, lost: int = 0) -> dict[str, Any]:
    return {
        'messages': 10,
        'bytes': 100,
        'seconds': 1.0,
        'msgs_per_s': rate,
        'mb_per_s': rate,
        'paper_msgs_per_s': rate,
        'cpu_s_per_gb': 1.0,
        'peak_rss_mb': rate,
        'rtt_ms': None if p50 is None else {'p50': p50, 'max': 2 * p50},
        'lost': lost,
        'duplicated': 0,
        'corrupt': 0,
        'redelivered': 0,
    }


def test_rounds_give_medians_and_ranges() -> None:
    result = summary([make_round(1.0, lost=1), make_round(5.0, lost=2), make_round(2.0)])
    assert result['mb_per_s'] == 2.0
    assert result['range']['mb_per_s'] == [1.0, 5.0]
    assert result['lost'] == 3
    assert result['peak_rss_mb'] == 5.0
    assert result['rtt_ms'] is None


def test_ratios_are_taken_within_a_round() -> None:
    result = against([make_round(2.0), make_round(9.0)], [make_round(1.0), make_round(3.0)])
    assert result['ratio'] == 2.5
    assert result['ratio_range'] == [2.0, 3.0]


def test_with_replies_the_ratio_is_of_round_trips() -> None:
    assert against([make_round(1.0, p50=4.0)], [make_round(9.0, p50=1.0)])['ratio'] == 0.25


def test_each_architecture_has_its_raw_loops() -> None:
    assert baselines_of(make_plan(sealed=False)) == ('raw-socket', 'pyzmq')
    assert 'pyzmq-curve' in baselines_of(make_plan())
    assert baselines_of(make_plan(architecture='mss'))[-1] == 'dts'
    assert baselines_of(make_plan(pattern=Pattern.FEEDBACK)) == ('pyzmq-ping-pong',)


@pytest.mark.parametrize(
    'changes',
    [{'producers': 2}, {'consumers': 2}, {'pattern': Pattern.SHUFFLE}, {'architecture': 'other'}],
)
def test_what_has_no_baseline_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        baselines_of(make_plan(**changes))


def test_rounds_are_interleaved_with_raw_loops() -> None:
    result = compare(make_plan(sealed=False), repeat=2, baseline=True)
    assert result['repeats'] == 2
    assert {'raw-socket', 'pyzmq'} == set(result['baselines'])
    for figures in (result, *result['baselines'].values()):
        assert figures['messages'] == 100
        assert figures['lost'] == figures['duplicated'] == figures['corrupt'] == 0
    assert result['baselines']['pyzmq']['ratio'] > 0
