"""Workers of a real Parsl executor are killed; Parsl tries again, and the stream completes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pipeline_apps import number
from pipeline_apps import tell_pid_and_hang
from pipeline_apps import tell_pid_and_work
from sessions import configuration
from sites import two_sites

import parsl_streaming
from parsl_streaming.errors import ChannelAborted

pytestmark = pytest.mark.fault

PATIENCE = 60.0
over_both = pytest.mark.parametrize('architecture', ['dts', 'mss'])


@pytest.fixture(autouse=True)
def leaves_nothing() -> None:
    """Parsl puts new workers in the place of killed ones: `run_dir` looks when it has ended."""


@pytest.fixture(scope='module')
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before = set(psutil.Process().children(recursive=True))
    with two_sites(tmp_path_factory.mktemp('sites'), retries=1) as run_dir:
        yield run_dir
    _, alive = psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, 10)
    assert alive == []


@over_both
def test_killed_consumer_worker(run_dir: Path, tmp_path: Path, architecture: str) -> None:
    config = configuration(
        tmp_path,
        frames={'lease': 1.0, 'batch_messages': 4, 'timeout': PATIENCE},
        peaks={'from': 'hpc', 'to': 'submit', 'timeout': PATIENCE},
    )
    with parsl_streaming.load(config, architecture=architecture) as session:
        consumers = [tell_pid_and_work(0.02) for _ in range(2)]
        producer = number(100)
        with parsl_streaming.reader('peaks') as peaks:
            got = [peak.value for peak in _with_one_killed(peaks)]
        tasks = [task.result(PATIENCE) for task in (producer, *consumers)]
        redelivered = session.statistics('frames').redelivered
    assert {value for _, value, _ in got} == set(range(100))
    assert len({pid for pid, _, _ in got}) in (2, 3)
    assert tasks[0] is None
    assert redelivered >= 1


def _with_one_killed(peaks: parsl_streaming.Reader) -> Iterator[parsl_streaming.Message]:
    """All peaks; the worker that made the tenth is killed."""
    for i, peak in enumerate(peaks):
        if i == 10:
            os.kill(peak.value[0], signal.SIGKILL)
        yield peak


@over_both
def test_killed_producer_worker(run_dir: Path, tmp_path: Path, architecture: str) -> None:
    """It is killed, tried again by Parsl, and killed again: then readers are told."""
    config = configuration(tmp_path, frames={'lease': 1.0, 'timeout': PATIENCE})
    with parsl_streaming.load(config, architecture=architecture):
        task = tell_pid_and_hang()
        with parsl_streaming.reader('frames') as reader:
            for _ in range(2):
                os.kill(reader.receive(PATIENCE).value, signal.SIGKILL)
            with pytest.raises(ChannelAborted, match='WorkerLost'):
                reader.receive(PATIENCE)
        assert type(task.exception(PATIENCE)).__name__ == 'WorkerLost'
