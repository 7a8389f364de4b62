"""One measurement of a channel, or of a raw loop."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from parsl_streaming.bench import usage
from parsl_streaming.bench.channel import end_name
from parsl_streaming.bench.crew import Crew
from parsl_streaming.bench.job import Job
from parsl_streaming.bench.plan import CHANNEL
from parsl_streaming.bench.plan import Plan
from parsl_streaming.bench.server import redis_server
from parsl_streaming.bench.tally import accounts
from parsl_streaming.bench.workloads import Marks
from parsl_streaming.current import load
from parsl_streaming.route import Ticket

_QUANTILES = {'p50': 0.5, 'p95': 0.95, 'p99': 0.99, 'max': 1.0}


def measure_channel(plan: Plan, marks: Marks) -> dict[str, Any]:
    """Stream a workload over a channel of our own.

    Raises:
        StreamingError: The channel cannot be opened, a process failed, or time ran out.
    """
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix='bench-'))
        session = stack.enter_context(load(plan.config(directory), architecture=plan.architecture))
        crew = stack.enter_context(Crew(plan.limit))
        numbered = [('consumer', i) for i in range(plan.consumers)]
        numbered += [('producer', i) for i in range(plan.producers)]
        tickets: list[Future[Ticket]] = [
            session.ticket(
                CHANNEL, 'reader' if role == 'consumer' else 'writer', name=end_name(role, i)
            )
            for role, i in numbered
        ]
        for (role, i), ticket in zip(numbered, tickets, strict=True):
            place = ticket.result(plan.limit)
            crew.start(Job(role=role, plan=plan, marks=marks, index=i, ticket=place))
        for number in range(len(numbered)):
            crew.address(number)
        return _run(plan, crew, plan.consumers)


def measure_loop(plan: Plan, marks: Marks, loop: str) -> dict[str, Any]:
    """Stream the same workload over a raw loop.

    Args:
        plan: What is measured: one producer and one consumer.
        marks: What the payloads look like.
        loop: Name of the loop.

    Raises:
        StreamingError: A process failed, or time ran out.
    """
    with ExitStack() as stack:
        given = None
        if loop.startswith('redis'):
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix='bench-'))
            given, _ = stack.enter_context(redis_server(Path(directory)))
        crew = stack.enter_context(Crew(plan.limit))
        part = partial(Job, plan=plan, marks=marks, loop=loop)
        sink = crew.start(part(role='sink', address=given))
        source = crew.start(part(role='source', address=crew.address(sink)))
        crew.address(source)
        return _run(plan, crew, 1)


def _run(plan: Plan, crew: Crew, consumers: int) -> dict[str, Any]:
    """Let the crew go; its first members are the consumers."""
    others = usage.children(without=crew.pids)
    before = usage.cpu_seconds(others)
    results = crew.run()
    return figures(
        plan,
        results[:consumers],
        results[consumers:],
        cpu=usage.cpu_seconds(others) - before,
        rss_kib=usage.peak_rss_kib(others),
    )


def figures(
    plan: Plan,
    consumers: Sequence[Mapping[str, Any]],
    producers: Sequence[Mapping[str, Any]],
    *,
    cpu: float,
    rss_kib: int,
) -> dict[str, Any]:
    """What was measured, in the benchmark's words.

    Args:
        plan: What was measured.
        consumers: Results of the consumers' processes.
        producers: Results of the producers' processes.
        cpu: CPU seconds of other processes: a broker's.
        rss_kib: Their largest resident size.
    """
    everyone = [*consumers, *producers]
    messages = sum(each['messages'] for each in consumers)
    nbytes = messages * plan.load.nbytes
    active = [each for each in consumers if each['messages']]
    seconds = max(each['last'] for each in active) - min(each['first'] for each in active)
    received = sum(sum(map(sum, each['counts'])) for each in consumers) * plan.load.nbytes
    return {
        'messages': messages,
        'bytes': nbytes,
        'seconds': seconds,
        'msgs_per_s': _per(messages, seconds),
        'mb_per_s': _per(nbytes / 1e6, seconds),
        'paper_msgs_per_s': sum(_per(e['messages'], e['last'] - e['first']) for e in active),
        'rtt_ms': round_trips(producers),
        **accounts(plan, consumers),
        'corrupt': sum(each['corrupt'] for each in everyone),
        'redelivered': sum(each['redelivered'] for each in consumers),
        'cpu_s_per_gb': (cpu + sum(each['cpu'] for each in everyone)) / (received / 1e9),
        'peak_rss_mb': max(rss_kib, *(each['rss_kib'] for each in everyone)) * 1024 / 1e6,
    }


def _per(amount: float, seconds: float) -> float:
    """A rate; 0 where one arrival alone says nothing."""
    return amount / seconds if seconds > 0 else 0.0


def round_trips(producers: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """Quantiles of all round trips in milliseconds; `None` where nothing was answered."""
    trips = array('d')
    for producer in producers:
        trips.frombytes(producer['round_trips'])
    if not trips:
        return None
    ordered = sorted(trips)
    last = len(ordered) - 1
    return {name: ordered[round(q * last)] * 1e3 for name, q in _QUANTILES.items()}
