"""Ctrl-C at a terminal: it reaches every process of the program's group at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

PATIENCE = 30.0
COMMAND = 'import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n'
COMMAND += 'from parsl_streaming.cli import main; main()'


def _started(session: int) -> list[psutil.Process]:
    """Every process of a session: blocks of workers are no descendants of the program."""
    return [each for each in psutil.process_iter(['cmdline']) if _session(each) == session]


def _session(process: psutil.Process) -> int:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return -1


def _are_up(processes: list[psutil.Process]) -> bool:
    """Whether the workers of both sites stand."""
    commands = [' '.join(each.info['cmdline'] or ()) for each in processes]
    return sum('process_worker_pool.py' in command for command in commands) >= 2


@pytest.mark.e2e
@pytest.mark.parametrize('wait', [0.0, 0.5], ids=['at once', 'in mid-stream'])
def test_ctrl_c_ends_the_demo_and_leaves_nothing(tmp_path: Path, wait: float) -> None:
    arguments = ['demo', '--output', str(tmp_path / 'out'), '--tile', '32']
    program = subprocess.Popen(
        [sys.executable, '-c', COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        limit = time.monotonic() + PATIENCE
        while not _are_up(started := _started(program.pid)):
            assert time.monotonic() < limit, 'the sites did not start'
            time.sleep(0.05)
        time.sleep(wait)
        os.killpg(program.pid, signal.SIGINT)
        output, _ = program.communicate(timeout=PATIENCE)
        left = _started(program.pid)
    finally:
        for each in _started(program.pid) if program.poll() is None else ():
            each.kill()
        program.communicate()
    _, alive = psutil.wait_procs({*started, *left}, PATIENCE)
    assert alive == []
    assert program.returncode == 130, output
    assert 'Traceback' not in output
    assert output.splitlines()[-1] == 'stopped'
    assert list((tmp_path / 'out' / 'runinfo').glob('streaming/*')) == []
