"""One process of the benchmark: `python -m parsl_streaming.bench.worker`.

It reads its job from stdin, opens its end, says on stdout where it can be
found, waits for a line on stdin, runs, and writes its results to stdout.
"""

from __future__ import annotations

import pickle
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any
from typing import Final

import msgpack

from parsl_streaming.bench.channel import Consumer
from parsl_streaming.bench.channel import Producer
from parsl_streaming.bench.job import End
from parsl_streaming.bench.job import Job
from parsl_streaming.bench.raw import Sink
from parsl_streaming.bench.raw import Source

_ENDS: Final[dict[str, Callable[[Job], End]]] = {
    'producer': Producer,
    'consumer': Consumer,
    'source': Source,
    'sink': Sink,
}


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _say(answer: Any) -> None:
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()


def main() -> None:
    """Do one job; the alarm ends a process whose parent is gone."""
    job: Job = pickle.load(sys.stdin.buffer)  # noqa: S301 (our parent's pipe)
    signal.alarm(job.plan.limit)
    end = _ENDS[job.role](job)
    try:
        _say(msgpack.packb(end.address).hex().encode() + b'\n')
        if sys.stdin.buffer.readline():
            before = _cpu_seconds()
            result = dict(end.run())
            result['cpu'] = _cpu_seconds() - before
            result['rss_kib'] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            _say(msgpack.packb(result))
    finally:
        end.close()


if __name__ == '__main__':
    main()
