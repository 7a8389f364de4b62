"""The two processes of a raw loop, which count as those of a channel do."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import Final

from parsl_streaming.bench.baselines import CurveZmq
from parsl_streaming.bench.baselines import Loop
from parsl_streaming.bench.baselines import PingPong
from parsl_streaming.bench.baselines import PlainZmq
from parsl_streaming.bench.baselines import RawSocket
from parsl_streaming.bench.job import Job
from parsl_streaming.bench.plan import Plan
from parsl_streaming.bench.redis_loop import PackedByPython
from parsl_streaming.bench.redis_loop import RedisPipeline
from parsl_streaming.bench.tally import Tally
from parsl_streaming.bench.workloads import BUFFERS

LOOPS: Final[dict[str, Callable[[Plan], Loop]]] = {
    'raw-socket': RawSocket,
    'pyzmq': PlainZmq,
    'pyzmq-curve': CurveZmq,
    'pyzmq-ping-pong': PingPong,
    'redis-py': RedisPipeline,
    'redis-py-python-packer': PackedByPython,
}


class Source:
    """Sends as fast as the loop goes."""

    address = None

    def __init__(self, job: Job) -> None:
        self._count = job.plan.count(0)
        self._payloads = job.plan.load.payloads(job.plan.seed)
        self._loop = LOOPS[job.loop](job.plan)
        self._loop.connect(job.address)

    def _stream(self) -> Iterator[bytes]:
        for number in range(self._count):
            yield self._payloads[number % BUFFERS]

    def run(self) -> dict[str, Any]:
        """Send everything."""
        return {'corrupt': 0, 'round_trips': self._loop.send_all(self._stream())}

    def close(self) -> None:
        """Free the sockets."""
        self._loop.close()


class Sink:
    """Receives and counts."""

    def __init__(self, job: Job) -> None:
        self._count = job.plan.count(0)
        self._tally = Tally(job.plan, job.marks)
        self._loop = LOOPS[job.loop](job.plan)
        self.address = self._loop.listen(job.address)

    def run(self) -> dict[str, Any]:
        """Receive everything."""
        for number, data in enumerate(self._loop.receive_all(self._count)):
            self._tally.take(0, number, data)
        return self._tally.result() | {'redelivered': 0}

    def close(self) -> None:
        """Free the sockets."""
        self._loop.close()
