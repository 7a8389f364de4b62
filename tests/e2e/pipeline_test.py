"""Whole pipelines over two HighThroughputExecutors: instrument, computer, submit process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from parsl.app.errors import AppTimeout
from pipeline_apps import acquire
from pipeline_apps import analyse
from pipeline_apps import mean
from pipeline_apps import say
from pipeline_apps import square
from pipeline_apps import wait_in_vain
from sessions import configuration
from sites import two_sites

import parsl_streaming

pytestmark = pytest.mark.e2e

PATIENCE = 30.0
PEAKS = {'from': 'hpc', 'to': 'submit'}
over_both = pytest.mark.parametrize('architecture', ['dts', 'mss'])


@pytest.fixture(scope='module')
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with two_sites(tmp_path_factory.mktemp('sites')) as run_dir:
        yield run_dir


def _load(directory: Path, architecture: str, **channels: dict[str, Any]) -> Any:
    config = configuration(directory, **channels)
    return parsl_streaming.load(config, architecture=architecture)


@over_both
def test_instrument_to_computer_to_submit(run_dir: Path, tmp_path: Path, architecture: str) -> None:
    with _load(tmp_path, architecture, frames={'writers': 2}, peaks=PEAKS) as session:
        with parsl_streaming.reader('peaks') as peaks:
            writers = [acquire(first, 100) for first in (0, 100)]
            readers = [analyse(), analyse()]
            got = sorted(peak.value for peak in peaks)
        pids = {task.result(PATIENCE) for task in writers + readers}
        frames = session.statistics('frames')
    assert got == [[i, 256 * i] for i in range(200)]
    assert len(pids) >= 2
    assert (frames.sent, frames.messages, frames.duplicates) == (200, 200, 0)


@over_both
def test_operator(run_dir: Path, tmp_path: Path, architecture: str) -> None:
    with _load(tmp_path, architecture, frames={}, peaks=PEAKS):
        tasks = [*mean(), acquire(0, 50)]
        with parsl_streaming.reader('peaks') as peaks:
            got = sorted(peak.value for peak in peaks)
        done = [task.result(PATIENCE) for task in tasks]
    assert got == [float(i) for i in range(50)]
    assert sum(done[:2]) == 50


@over_both
def test_bash_apps(run_dir: Path, tmp_path: Path, architecture: str) -> None:
    out = tmp_path / 'out.txt'
    with _load(tmp_path, architecture, lines={}, peaks=PEAKS):
        tasks = [say(300, stdout=str(out)), square()]
        with parsl_streaming.reader('peaks') as peaks:
            got = [int(peak.value) for peak in peaks]
        assert [task.result(PATIENCE) for task in tasks] == [0, 0]
    assert got == [n * n for n in range(1, 301)]
    assert out.read_text() == 'begun\n'


@over_both
def test_walltime_ends_a_reader_that_waits(
    run_dir: Path, tmp_path: Path, architecture: str
) -> None:
    with _load(tmp_path, architecture, frames={}):
        task = wait_in_vain(walltime=0.5)
        with pytest.raises(AppTimeout):
            task.result(PATIENCE)  # it would otherwise wait for 60 s


def test_secrets_are_in_no_command_line_and_no_log(run_dir: Path, tmp_path: Path) -> None:
    peaks = PEAKS | {'architecture': 'mss'}
    with _load(tmp_path, 'dts', frames={}, peaks=peaks) as session:
        tasks = [acquire(0, 5), analyse()]
        with parsl_streaming.reader('peaks') as reader:
            assert len(list(reader)) == 5
            secrets = {secret for secret in _secrets(session) if secret}
            lines = list(_command_lines())
        for task in tasks:
            task.result(PATIENCE)
    assert len(secrets) == 3 + 2 + 2  # keys of the sites, seals of the channels, user and password
    logs = [path.read_bytes() for path in run_dir.rglob('*') if path.is_file()]
    assert any(b'analyse' in log for log in logs)
    for secret in secrets:
        for text in (*lines, *logs):
            assert secret not in text
            assert repr(secret).encode() not in text
            assert secret.hex().encode() not in text


def _secrets(session: parsl_streaming.Session) -> Iterator[bytes]:
    for path in session.directory.glob('*.key'):
        yield path.read_text().split()[1].encode()
    for channel in session._registry._channels.values():
        assert channel.secret is not None
        yield channel.secret
        yield from (str(value).encode() for value in channel.secrets.values())


def _command_lines() -> Iterator[bytes]:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error, OSError):
            for name in ('cmdline', 'environ'):
                yield Path(f'/proc/{process.pid}/{name}').read_bytes()
