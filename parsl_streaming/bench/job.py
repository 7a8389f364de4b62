"""What a process of the benchmark is told, and what it offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Protocol

from parsl_streaming.bench.plan import Plan
from parsl_streaming.bench.workloads import Marks
from parsl_streaming.route import Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One process's part. It travels through stdin, never on a command line.

    Attributes:
        role: `producer` or `consumer` of a channel, `source` or `sink` of a raw loop.
        plan: What is measured.
        marks: What the payloads look like.
        index: Which of its role it is, from 0.
        ticket: Place on the channel.
        loop: Name of the raw loop.
        address: Where a raw loop's source finds its sink.
    """

    role: str
    plan: Plan
    marks: Marks
    index: int = 0
    ticket: Ticket | None = None
    loop: str = ''
    address: Any = field(default=None, repr=False)  # of a broker: with its password


class End(Protocol):
    """A part that is ready to run: connections are open."""

    address: Any
    """Where its counterpart finds it; msgpack-able."""

    def run(self) -> Mapping[str, Any]:
        """Do the work; returns msgpack-able results."""

    def close(self) -> None:
        """Free what it opened."""
