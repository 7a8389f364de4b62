"""The embedded broker's folder, and the removal of those whose owners were killed.

An owner holds a lock on a file in its folder. The kernel lets go of it when the
owner ends, however it ends: a lock to be had is one whose owner is gone. Locks of
some shared file systems hold on one machine only, so the file bears the machine's name.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final

_PREFIX: Final = 'parsl-streaming-broker-'


class Folder:
    """A new folder that only we can enter.

    Args:
        parent: Where it goes; the folder for temporary files if `None`.
    """

    def __init__(self, parent: Path | None) -> None:
        parent = Path(tempfile.gettempdir()) if parent is None else parent
        parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parent)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self._lock = _lock_new(self.path)
        self._cleanup = weakref.finalize(self, _remove, self.path, self._lock, os.getpid())

    def close(self) -> None:
        """Remove it with all that it holds; idempotent."""
        self._cleanup()


def _lock_name() -> str:
    return f'owner-{socket.gethostname()}'


def _lock_new(folder: Path) -> int:
    """Make the lock file, which bears its name only once it is locked."""
    unnamed = folder / 'owner'
    lock = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with suppress(OSError):  # A file system without locks: then nobody can tell, and it stays.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(folder / _lock_name())
    return lock


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f'{_PREFIX}*'):
        with suppress(OSError):  # In use, gone meanwhile, or somebody else's.
            if folder.lstat().st_uid == os.getuid():
                lock = os.open(folder / _lock_name(), os.O_RDWR | os.O_NOFOLLOW)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
                finally:
                    os.close(lock)


def _remove(path: Path, lock: int, owner: int) -> None:
    if os.getpid() == owner:  # A forked child must not remove what its parent still uses.
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)
