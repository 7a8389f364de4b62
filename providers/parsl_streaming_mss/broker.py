"""The embedded broker: a real Valkey or Redis server that lives as long as we do.

A thread of its own starts the server, waits for its end and starts it again if
it died. On Linux the kernel kills the server when that thread's process dies,
however it dies: the thread must therefore live as long as the process.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from parsl_streaming.errors import BrokerUnavailable
from parsl_streaming.errors import StreamingError
from parsl_streaming_mss.connect import Endpoint
from parsl_streaming_mss.connect import connect
from parsl_streaming_mss.folder import Folder
from parsl_streaming_mss.program import find_program

START_TIMEOUT: Final = 20.0
_STOP_TIMEOUT: Final = 5.0
_QUICK_DEATHS: Final = 5
_QUICK: Final = 10.0
# glibc's malloc otherwise gives memory back and takes it again for every large entry.
_MALLOC: Final = {
    'MALLOC_MMAP_THRESHOLD_': str(1 << 30),
    'MALLOC_TRIM_THRESHOLD_': str(1 << 33),
    'MALLOC_TOP_PAD_': str(64 << 20),
}
# Runs in the child, which then becomes the server: PR_SET_PDEATHSIG is 1, SIGKILL is 9.
# The parent may have died before the call: then nobody would ever send the signal.
_LAUNCHER: Final = """
import ctypes, os, sys
if sys.platform == 'linux':
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class Broker:
    """A server of our own on one address, with a password and a directory.

    Args:
        host: Address to listen on.
        durable: Whether it keeps an append-only file (fsync every second).
        directory: Where its files go; a temporary directory if `None`.
        maxmemory_bytes: Limit of its memory; half of the machine's if `None`.

    Raises:
        BrokerUnavailable: No server program, or it did not start.
    """

    def __init__(
        self,
        *,
        host: str = '127.0.0.1',
        durable: bool = False,
        directory: Path | None = None,
        maxmemory_bytes: int | None = None,
    ) -> None:
        self._program = find_program()
        self._durable = durable
        self._maxmemory = maxmemory_bytes or _half_of_memory()
        self._folder = Folder(directory)
        self._directory = self._folder.path
        self._log = self._directory / 'broker.log'
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = Endpoint(host, _free_port(host), password=secrets.token_urlsafe(24))
        self._write_files()
        self._supervisor = threading.Thread(target=self._supervise, name='broker', daemon=True)
        self._supervisor.start()
        try:
            self._await_start()
        except StreamingError:
            self.close()
            raise

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def _write_files(self) -> None:
        digest = hashlib.sha256(self.endpoint.password.encode()).hexdigest()
        _write_private(self._directory / 'users.acl', f'user default on #{digest} ~* &* +@all\n')
        lines = [
            f'bind {self.endpoint.host}',
            f'port {self.endpoint.port}',
            'protected-mode yes',
            'daemonize no',
            f'dir "{self._directory}"',
            f'aclfile "{self._directory / "users.acl"}"',
            f'logfile "{self._log}"',
            'loglevel notice',
            'save ""',
            f'appendonly {"yes" if self._durable else "no"}',
            'appendfsync everysec',
            f'maxmemory {self._maxmemory}',
            'maxmemory-policy noeviction',
        ]
        _write_private(self._directory / 'broker.conf', '\n'.join(lines) + '\n')

    def _supervise(self) -> None:
        quick_deaths = 0
        while not self._stopping.is_set() and quick_deaths < _QUICK_DEATHS:
            started = time.monotonic()
            self._process = self._spawn()
            self._process.wait()
            quick_deaths = quick_deaths + 1 if time.monotonic() - started < _QUICK else 0
            self._stopping.wait(0.1 * quick_deaths)

    def _spawn(self) -> subprocess.Popen[bytes]:
        config = str(self._directory / 'broker.conf')
        launcher = [sys.executable, '-I', '-S', '-c', _LAUNCHER, str(os.getpid())]
        with self._log.open('ab') as log:
            return subprocess.Popen(
                [*launcher, str(self._program), config],
                env={'PATH': os.defpath, **_MALLOC},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the program, which then closes us.
            )

    def _await_start(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self._supervisor.is_alive():
            with suppress(BrokerUnavailable):
                connect(self.endpoint, timeout=1.0).close()
                return
            time.sleep(0.01)
        msg = f'the broker {self._program} did not start on {self.endpoint}: {self._last_words()}'
        raise BrokerUnavailable(msg)

    def _last_words(self) -> str:
        lines = self._log.read_text(errors='replace').splitlines() if self._log.exists() else []
        return ' / '.join(lines[-3:]) or 'it said nothing'

    def close(self) -> None:
        """Stop the server and remove its files; idempotent."""
        self._stopping.set()
        deadline = time.monotonic() + _STOP_TIMEOUT
        while self._supervisor.is_alive():
            if process := self._process:
                process.terminate() if time.monotonic() < deadline else process.kill()
            self._supervisor.join(0.05)
        self._folder.close()


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'w') as file:
        file.write(text)


def _free_port(host: str) -> int:
    try:
        with socket.create_server((host, 0), family=_family(host)) as sock:
            return int(sock.getsockname()[1])
    except OSError as error:
        msg = f'no broker: cannot listen on {host} here ({error}); check the addresses of the site'
        raise BrokerUnavailable(msg) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ':' in host else socket.AF_INET


def _half_of_memory() -> int:
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // 2
