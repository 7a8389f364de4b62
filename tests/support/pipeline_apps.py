"""Apps of the end-to-end tests: workers import them from here."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from parsl import bash_app
from parsl import python_app

import parsl_streaming
from parsl_streaming import streaming


@python_app
def worker_pid() -> int:
    time.sleep(0.2)  # so that the other worker takes the next one
    return os.getpid()


@streaming(writes='frames')
@python_app(executors=['beamline'])
def acquire(frames: Any, first: int, n: int) -> int:
    import numpy as np

    for i in range(first, first + n):
        frames.send(np.full((16, 16), i, dtype='u2'), key=i)
    return os.getpid()


@streaming(reads='frames', writes='peaks')
@python_app(executors=['hpc'])
def analyse(frames: Any, peaks: Any) -> int:
    for frame in frames:
        peaks.send([frame.key, int(frame.value.sum())])
    return os.getpid()


@streaming.map(reads='frames', writes='peaks', workers=2)
@python_app(executors=['hpc'])
def mean(frames: Any) -> float:
    return float(frames.value.mean())


@streaming(writes='lines')
@bash_app(executors=['beamline'])
def say(n: int, lines: Any, stdout: str = '') -> str:
    return f'echo begun; seq {n} > {lines}'


@streaming(reads='lines', writes='peaks')
@bash_app(executors=['hpc'])
def square(lines: Any, peaks: Any) -> str:
    return f'while read n; do echo $((n * n)); done < {lines} > {peaks}'


@streaming(reads='frames')
@python_app(executors=['hpc'])
def wait_in_vain(frames: Any, walltime: float = 1.0) -> None:
    frames.receive(60.0)


@streaming(writes='frames')
@python_app(executors=['beamline'])
def number(frames: Any, n: int) -> None:
    for i in range(n):
        frames.send(i)


@streaming(writes='frames')
@python_app(executors=['beamline'])
def tell_pid_and_hang(frames: Any) -> None:
    frames.send(os.getpid())
    frames.flush()
    time.sleep(60)


@streaming(reads='frames', writes='peaks')
@python_app(executors=['hpc'])
def tell_pid_and_work(frames: Any, peaks: Any, seconds: float) -> int:
    """Each result names the process that made it."""
    n = 0
    for frame in frames:
        time.sleep(seconds)
        peaks.send([os.getpid(), frame.value, frame.redelivered])
        peaks.flush()
        n += 1
    return n


@streaming(writes='numbers')
@python_app
def dies_once(numbers: Any, mark: str) -> None:
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    numbers.send(parsl_streaming.attempt())
