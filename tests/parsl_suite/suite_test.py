"""Parsl's own tests, run against our executors: whoever uses them notices no difference."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import parsl.tests
import pytest

CONFIGS = Path(__file__).with_name('configs')
SUITE = Path(parsl.tests.__file__).parent
# Those that are left out need the network, or that the tests are not run by root.
LEFT_OUT = 'not cleannet and not unix_filesystem_permissions_required'
LIMIT = 300


@pytest.mark.e2e
@pytest.mark.timeout(LIMIT + 20)
@pytest.mark.parametrize('config', ['threads', 'workers'])
def test_parsls_own_suite_passes(config: str, tmp_path: Path) -> None:
    """In a scratch folder, since it leaves files behind, and in a process group of its own."""
    command = [sys.executable, '-m', 'pytest', str(SUITE), '--quiet', '-p', 'no:cacheprovider']
    command += ['-c', os.devnull, '-k', LEFT_OUT, '--config', str(CONFIGS / f'{config}.py')]
    suite = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, 'COVERAGE_PROCESS_START': ''},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    try:
        output, _ = suite.communicate(timeout=LIMIT)
    finally:
        if suite.poll() is None:
            os.killpg(suite.pid, signal.SIGKILL)
            suite.communicate()
    passed = re.search(r'(\d+) passed', output)
    assert suite.returncode == 0, output[-5000:]
    assert passed is not None
    assert int(passed[1]) > 100
