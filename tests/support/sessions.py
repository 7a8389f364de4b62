"""A session, and Parsl with threads in this process, for tests of apps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import parsl
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor

import parsl_streaming
import parsl_streaming.testing

PATIENCE = 20.0
"""Seconds that a test waits for a task."""


def configuration(directory: Path, **channels: dict[str, Any]) -> dict[str, Any]:
    """Two sites of one network, and channels from the first to the second.

    Args:
        directory: Where the session's files go.
        **channels: What each channel declares, beside its ends.
    """
    ends = {'from': 'beamline', 'to': 'hpc', 'timeout': PATIENCE}
    return {
        'session': {'directory': str(directory / 'streaming')},
        'sites': {'beamline': {'network': 'lab'}, 'hpc': {'network': 'lab'}},
        'channels': {name: ends | declared for name, declared in channels.items()},
    }


@contextmanager
def threads(
    config: dict[str, Any], *, architecture: str = 'memory', retries: int = 0, width: int = 6
) -> Iterator[parsl_streaming.Session]:
    """A loaded session around a Parsl that runs apps in threads of this process."""
    run_dir = str(Path(config['session']['directory']).parent / 'runinfo')
    executors = [ThreadPoolExecutor(max_threads=width)]
    with (
        parsl_streaming.load(config, architecture=architecture) as session,
        parsl.load(
            Config(executors=executors, run_dir=run_dir, retries=retries, initialize_logging=False)
        ),
    ):
        yield session
