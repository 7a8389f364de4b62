"""What every test shares: a free port, and the rule that a test leaves nothing behind."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator

import psutil
import pytest

PATIENCE = 5.0
"""Seconds that what a test stopped may take to be gone."""

PR_SET_CHILD_SUBREAPER = 36

# Helpers of the standard library's multiprocessing: one per process, gone when pytest ends.
SHARED_HELPERS = ('multiprocessing.resource_tracker', 'multiprocessing.forkserver')


def pytest_configure(config: pytest.Config) -> None:
    """Prepare for the processes that tests start.

    What tests import (`tests/support` holds the apps of end-to-end tests), workers
    can import too: apps of a test module cannot travel to a worker, which does not
    know that module. And pytest becomes the parent of orphans, so that a
    grandchild whose own parent died is found as well.
    """
    paths = [str(path) for path in config.getini('pythonpath')]
    inherited = os.environ.get('PYTHONPATH')
    os.environ['PYTHONPATH'] = os.pathsep.join([*paths, inherited] if inherited else paths)
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that gives a TCP port on which nothing listens now."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port: int = probe.getsockname()[1]
            return port

    return find


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    """Fail a test that leaves a process, a non-daemon thread or a listening socket.

    What stood before the test (a fixture of its module, say) may stand after it.
    """
    before = _standing()
    yield
    deadline = time.monotonic() + PATIENCE
    pause = 0.005
    while left := sorted(_standing() - before):
        if time.monotonic() > deadline:
            pytest.fail('the test left behind: ' + '; '.join(left), pytrace=False)
        time.sleep(pause)
        pause = min(2 * pause, 0.2)


def _standing() -> set[str]:
    """What runs in and under this process now, in words that name each thing."""
    return _children() | _threads() | _listeners()


def _children() -> set[str]:
    return set(filter(None, map(_describe, psutil.Process().children(recursive=True))))


def _describe(process: psutil.Process) -> str | None:
    try:
        command = ' '.join(process.cmdline())
        dead = process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None
    if dead or any(helper in command for helper in SHARED_HELPERS):
        return None
    return f'process {process.pid} ({command[:200]})'


def _threads() -> set[str]:
    alive = (thread for thread in threading.enumerate() if not thread.daemon)
    return {f'thread {thread.name} ({thread.ident})' for thread in alive}


def _listeners() -> set[str]:
    sockets = psutil.Process().net_connections(kind='tcp')
    listening = (each for each in sockets if each.status == psutil.CONN_LISTEN)
    return {f'listening socket {each.laddr.ip}:{each.laddr.port}' for each in listening}
