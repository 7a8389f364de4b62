"""Several rounds, interleaved with raw loops: medians, and the ratios within each round."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from typing import Final

from parsl_streaming.bench.plan import Plan
from parsl_streaming.bench.run import measure_channel
from parsl_streaming.bench.run import measure_loop
from parsl_streaming.bench.usage import congestion_control
from parsl_streaming.bench.workloads import Marks
from parsl_streaming.errors import UsageError
from parsl_streaming.spec import Pattern

RATES: Final = ('seconds', 'msgs_per_s', 'mb_per_s', 'paper_msgs_per_s', 'cpu_s_per_gb')
COUNTS: Final = ('lost', 'duplicated', 'corrupt', 'redelivered')
_DIRECT: Final = 'dts'
"""What a managed channel is compared with as well."""
_LOOPS: Final[Mapping[str, tuple[str, ...]]] = {
    'dts': ('raw-socket', 'pyzmq'),
    'mss': ('redis-py', 'redis-py-python-packer', _DIRECT),
}
_SEALED_LOOPS: Final[Mapping[str, tuple[str, ...]]] = {'dts': ('pyzmq-curve',)}

Round = Mapping[str, Any]


def baselines_of(plan: Plan) -> tuple[str, ...]:
    """What a plan is compared with.

    Raises:
        UsageError: There is nothing to compare it with.
    """
    one_to_one = plan.producers == plan.consumers == 1
    if one_to_one and plan.pattern is Pattern.FEEDBACK:
        return ('pyzmq-ping-pong',)
    if not one_to_one or plan.pattern is not Pattern.WORK_SHARING:
        msg = (
            '--baseline compares one producer with one consumer, on --pattern work-sharing or '
            f'feedback; not {plan.producers} with {plan.consumers} on {plan.pattern}'
        )
        raise UsageError(msg)
    if plan.architecture not in _LOOPS:
        msg = f'no raw loop is known for {plan.architecture!r}; there are: {", ".join(_LOOPS)}'
        raise UsageError(msg)
    sealed = _SEALED_LOOPS.get(plan.architecture, ()) if plan.sealed else ()
    return _LOOPS[plan.architecture] + sealed


def compare(plan: Plan, *, repeat: int, baseline: bool) -> dict[str, Any]:
    """Measure a plan.

    Args:
        plan: What is measured.
        repeat: Number of rounds.
        baseline: Interleave with raw loops.

    Returns:
        The result in the benchmark's JSON keys.

    Raises:
        StreamingError: It cannot be measured, or was not done in time.
    """
    names = baselines_of(plan) if baseline else ()
    marks = Marks.of(plan.load.payloads(plan.seed))
    rounds: list[Round] = []
    others: dict[str, list[Round]] = {name: [] for name in names}
    for _ in range(repeat):
        rounds.append(measure_channel(plan, marks))
        for name in names:
            others[name].append(_measure(name, plan, marks))
    result = _head(plan) | summary(rounds) | {'congestion_control': congestion_control()}
    if names:
        result['baselines'] = {name: against(rounds, others[name]) for name in names}
    return result


def _measure(name: str, plan: Plan, marks: Marks) -> Round:
    if name == _DIRECT:
        return measure_channel(replace(plan, architecture=_DIRECT), marks)
    return measure_loop(plan, marks, name)


def _head(plan: Plan) -> dict[str, Any]:
    return {
        'architecture': plan.architecture,
        'workload': plan.workload,
        'pattern': str(plan.pattern),
        'producers': plan.producers,
        'consumers': plan.consumers,
        'sealed': plan.sealed,
    }


def summary(rounds: Sequence[Round]) -> dict[str, Any]:
    """Medians of the rounds, their ranges, and the sums of what must be zero."""
    trips = [each['rtt_ms'] for each in rounds if each['rtt_ms']]
    return {
        'repeats': len(rounds),
        'messages': rounds[0]['messages'],
        'bytes': rounds[0]['bytes'],
        **{name: _median(rounds, name) for name in RATES},
        'rtt_ms': {q: statistics.median(t[q] for t in trips) for q in trips[0]} if trips else None,
        **{name: sum(each[name] for each in rounds) for name in COUNTS},
        'peak_rss_mb': max(each['peak_rss_mb'] for each in rounds),
        'range': {name: _range([each[name] for each in rounds]) for name in RATES},
    }


def _median(rounds: Sequence[Round], name: str) -> float:
    return float(statistics.median(each[name] for each in rounds))


def _range(values: Sequence[float]) -> list[float]:
    return [min(values), max(values)]


def against(ours: Sequence[Round], theirs: Sequence[Round]) -> dict[str, Any]:
    """A baseline, and how many times as good ours was in each round.

    The ratio is of megabytes per second; of median round trips where messages are answered.
    """
    pairs = list(zip(ours, theirs, strict=True))
    if ours[0]['rtt_ms'] and theirs[0]['rtt_ms']:
        ratios = [their['rtt_ms']['p50'] / our['rtt_ms']['p50'] for our, their in pairs]
    else:
        ratios = [our['mb_per_s'] / their['mb_per_s'] for our, their in pairs]
    return summary(theirs) | {
        'ratio': statistics.median(ratios),
        'ratio_range': _range(ratios),
        'cpu_ratio': statistics.median(o['cpu_s_per_gb'] / t['cpu_s_per_gb'] for o, t in pairs),
    }
