"""`parsl-streaming bench`."""

from __future__ import annotations

import json
from typing import Final

import click

from parsl_streaming.bench.compare import compare
from parsl_streaming.bench.plan import Plan
from parsl_streaming.bench.report import table
from parsl_streaming.bench.workloads import WORKLOADS
from parsl_streaming.spec import Pattern

_MOST_PROCESSES: Final = 64
_MOST_MESSAGES: Final = 1 << 20
_MOST_SECONDS: Final = 3600
_PATTERNS: Final = [str(pattern) for pattern in Pattern]


@click.command()
@click.option('--architecture', default='dts', show_default=True, metavar='NAME')
@click.option('--workload', type=click.Choice([*WORKLOADS]), default='lcls', show_default=True)
@click.option('--pattern', type=click.Choice(_PATTERNS), default='work-sharing', show_default=True)
@click.option('--producers', type=click.IntRange(1, _MOST_PROCESSES), default=1, show_default=True)
@click.option('--consumers', type=click.IntRange(1, _MOST_PROCESSES), default=1, show_default=True)
@click.option(
    '--messages',
    type=click.IntRange(1, _MOST_MESSAGES),
    default=2048,
    show_default=True,
    help='Measured messages, of all producers together.',
)
@click.option('--baseline', is_flag=True, help='Interleave with raw loops of the same transport.')
@click.option('--unsealed', is_flag=True, help='Do not seal the payloads.')
@click.option('--repeat', type=click.IntRange(1, 99), default=1, show_default=True, help='Rounds.')
@click.option(
    '--in-flight',
    type=click.IntRange(0, _MOST_MESSAGES),
    default=0,
    help="Requests that a producer keeps open (feedback, gather); default: the workload's.",
)
@click.option(
    '--limit',
    type=click.IntRange(1, _MOST_SECONDS),
    default=120,
    show_default=True,
    help='Seconds that one measurement may take.',
)
@click.option('--json', 'as_json', is_flag=True, help='For programs.')
def bench(
    architecture: str,
    workload: str,
    pattern: str,
    producers: int,
    consumers: int,
    messages: int,
    *,
    baseline: bool,
    unsealed: bool,
    repeat: int,
    in_flight: int,
    limit: int,
    as_json: bool,
) -> int:
    """Measure how fast a channel is, in separate processes on this machine.

    It fails (status 1) when a message was lost, duplicated or corrupted.
    """
    plan = Plan(
        architecture=architecture,
        workload=workload,
        pattern=Pattern(pattern),
        producers=producers,
        consumers=consumers,
        messages=messages,
        sealed=not unsealed,
        in_flight=in_flight,
        limit=limit,
    )
    result = compare(plan, repeat=repeat, baseline=baseline)
    click.echo(json.dumps(result, indent=2) if as_json else table(result))
    return int(any(result[name] for name in ('lost', 'duplicated', 'corrupt')))
