"""What one measurement does: who sends how much to whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import Final

from parsl_streaming.bench.workloads import WORKLOADS
from parsl_streaming.bench.workloads import Workload
from parsl_streaming.spec import Pattern

CHANNEL: Final = 'stream'
_WARM_UP_BYTES: Final = 128 << 20
_PARTITIONS_PER_CONSUMER: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One measurement.

    Attributes:
        architecture: The architecture that carries the channel.
        workload: Name of the workload.
        pattern: The channel's pattern.
        producers: Number of producer processes.
        consumers: Number of consumer processes.
        messages: Measured messages, of all producers together.
        sealed: Whether payloads are sealed.
        in_flight: Requests that a producer keeps open; 0 takes the workload's.
        limit: Seconds after which everything is stopped.
        seed: Where the payloads' random bytes come from.
    """

    architecture: str
    workload: str
    pattern: Pattern
    producers: int
    consumers: int
    messages: int
    sealed: bool = True
    in_flight: int = 0
    limit: int = 120
    seed: int = 1

    @property
    def load(self) -> Workload:
        """The workload."""
        return WORKLOADS[self.workload]

    @property
    def window(self) -> int:
        """Requests that a producer keeps open."""
        return self.in_flight or self.load.in_flight

    @property
    def warm_up(self) -> int:
        """Messages that each producer sends before the measured ones: credit and caches grow."""
        share = max(1, self.messages // self.producers)
        most = _WARM_UP_BYTES // self.load.nbytes // self.producers
        return max(1, min(share // 4, most))

    def count(self, producer: int) -> int:
        """Messages of this producer, warm-up included."""
        share, rest = divmod(self.messages, self.producers)
        return self.warm_up + share + (producer < rest)

    @property
    def counts(self) -> list[int]:
        """`count` of each producer."""
        return [self.count(producer) for producer in range(self.producers)]

    def config(self, directory: str) -> dict[str, Any]:
        """The configuration of a session with the one channel.

        Args:
            directory: Where the session keeps its files.
        """
        channel: dict[str, Any] = {
            'from': 'producers',
            'to': 'consumers',
            'pattern': str(self.pattern),
            'sealed': self.sealed,
            'writers': self.producers,
            'readers': self.consumers,
            'timeout': self.limit,
        }
        if self.pattern is Pattern.SHUFFLE:
            channel['partitions'] = _PARTITIONS_PER_CONSUMER * self.consumers
        return {
            'session': {'directory': directory},
            'sites': {name: {'network': 'bench'} for name in ('producers', 'consumers')},
            'channels': {CHANNEL: channel},
        }
