from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Any

import pytest

from parsl_streaming.bench.plan import Plan
from parsl_streaming.bench.run import figures
from parsl_streaming.bench.run import measure_channel
from parsl_streaming.bench.run import measure_loop
from parsl_streaming.bench.run import round_trips
from parsl_streaming.bench.workloads import Marks
from parsl_streaming.errors import ChannelTimeout
from parsl_streaming.spec import Pattern

PLAN = Plan(
    architecture='dts',
    workload='deleria',
    pattern=Pattern.WORK_SHARING,
    producers=1,
    consumers=1,
    messages=200,
    limit=30,
)
MARKS = Marks.of(PLAN.load.payloads(PLAN.seed))


def consumer(first: float, last: float, messages: int, counts: list[bytes]) -> dict[str, Any]:
    return {
        'first': first,
        'last': last,
        'messages': messages,
        'counts': counts,
        'corrupt': 1,
        'redelivered': 2,
        'cpu': 0.5,
        'rss_kib': 1000,
    }


def test_figures_follow_the_papers_definitions() -> None:
    plan = replace(PLAN, consumers=2, messages=30)
    counts = [bytes([1] * plan.count(0))]
    nothing = [bytes(plan.count(0))]
    consumers = [consumer(1.0, 2.0, 20, counts), consumer(1.5, 3.5, 10, nothing)]
    producer = {'corrupt': 0, 'round_trips': b'', 'cpu': 1.0, 'rss_kib': 3000}
    result = figures(plan, consumers, [producer], cpu=1.0, rss_kib=2000)
    assert result['messages'] == 30
    assert result['bytes'] == 30 * 16_000
    assert result['seconds'] == 2.5
    assert result['msgs_per_s'] == pytest.approx(12)
    assert result['paper_msgs_per_s'] == pytest.approx(20 + 5)
    assert (result['lost'], result['duplicated']) == (0, 0)
    assert (result['corrupt'], result['redelivered']) == (2, 4)
    assert result['cpu_s_per_gb'] == pytest.approx(3.0 / (plan.count(0) * 16_000 / 1e9))
    assert result['peak_rss_mb'] == pytest.approx(3000 * 1024 / 1e6)
    assert result['rtt_ms'] is None


def test_round_trips_of_all_producers_are_ranked_together() -> None:
    parts = [array('d', [0.001 * n for n in range(start, 101, 2)]).tobytes() for start in (0, 1)]
    assert round_trips([{'round_trips': part} for part in parts]) == {
        'p50': pytest.approx(50),
        'p95': pytest.approx(95),
        'p99': pytest.approx(99),
        'max': pytest.approx(100),
    }


@pytest.mark.parametrize('sealed', [True, False])
def test_a_channel_is_measured(*, sealed: bool) -> None:
    result = measure_channel(replace(PLAN, sealed=sealed), MARKS)
    assert result['messages'] == 200
    assert result['bytes'] == 200 * 16_000
    assert [result[name] for name in ('lost', 'duplicated', 'corrupt', 'redelivered')] == [0] * 4
    assert result['msgs_per_s'] > 0
    assert result['cpu_s_per_gb'] > 0


@pytest.mark.parametrize('pattern', [Pattern.BROADCAST, Pattern.SHUFFLE])
def test_patterns_share_or_copy(pattern: Pattern) -> None:
    result = measure_channel(replace(PLAN, pattern=pattern, producers=2, consumers=2), MARKS)
    assert result['messages'] == (400 if pattern is Pattern.BROADCAST else 200)
    assert [result[name] for name in ('lost', 'duplicated', 'corrupt')] == [0] * 3


@pytest.mark.parametrize('pattern', [Pattern.FEEDBACK, Pattern.GATHER])
def test_answered_messages_have_round_trips(pattern: Pattern) -> None:
    result = measure_channel(replace(PLAN, pattern=pattern, consumers=2), MARKS)
    assert result['rtt_ms']['p50'] <= result['rtt_ms']['max']
    assert [result[name] for name in ('lost', 'duplicated', 'corrupt')] == [0] * 3


@pytest.mark.parametrize(
    'loop', ['raw-socket', 'pyzmq', 'pyzmq-curve', 'redis-py', 'redis-py-python-packer']
)
def test_a_raw_loop_is_measured_alike(loop: str) -> None:
    result = measure_loop(PLAN, MARKS, loop)
    assert result['messages'] == 200
    assert [result[name] for name in ('lost', 'duplicated', 'corrupt', 'redelivered')] == [0] * 4
    assert result['rtt_ms'] is None


def test_the_ping_pong_has_round_trips() -> None:
    result = measure_loop(PLAN, MARKS, 'pyzmq-ping-pong')
    assert result['rtt_ms']['p50'] > 0
    assert result['messages'] == 200


def test_a_measurement_that_takes_too_long_is_stopped() -> None:
    with pytest.raises(ChannelTimeout, match='--limit'):
        measure_loop(replace(PLAN, workload='generic', messages=100_000, limit=1), MARKS, 'pyzmq')
