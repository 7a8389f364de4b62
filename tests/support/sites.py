"""Parsl with a real executor for each of two sites."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
from pipeline_apps import worker_pid

WORKERS = 2
"""Workers at each site."""


@contextmanager
def two_sites(directory: Path, *, retries: int = 0) -> Iterator[Path]:
    """Run the sites `beamline` and `hpc`; gives Parsl's run directory."""
    executors = [
        HighThroughputExecutor(
            label=label,
            address='127.0.0.1',
            max_workers_per_node=WORKERS,
            cores_per_worker=0.1,
            heartbeat_period=1,
            heartbeat_threshold=10,
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
        for label in ('beamline', 'hpc')
    ]
    config = Config(
        executors=executors, run_dir=str(directory / 'runinfo'), retries=retries, strategy='none'
    )
    with parsl.load(config) as kernel:
        # Every process stands before the first test looks at what it leaves.
        warm = [worker_pid() for _ in range(6 * WORKERS)]
        assert len({pid.result(60) for pid in warm}) == 2 * WORKERS
        yield Path(kernel.run_dir)
