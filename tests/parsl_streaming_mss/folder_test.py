"""The embedded broker's folder: private, and removed even after its owner was killed."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from parsl_streaming_mss import folder as folder_module
from parsl_streaming_mss.folder import Folder

OWNER = """
import sys, time
from pathlib import Path
from parsl_streaming_mss.folder import Folder
folder = Folder(Path(sys.argv[1]))
print(folder.path, flush=True)
time.sleep(60)
"""


def abandon(parent: Path) -> Path:
    """The folder of a process that was killed."""
    command = [sys.executable, '-c', OWNER, str(parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        path = Path(owner.stdout.readline().strip())
        assert path.is_dir()
        owner.send_signal(signal.SIGKILL)
    return path


def test_it_is_private_and_goes_when_closed(tmp_path: Path) -> None:
    folder = Folder(tmp_path / 'new')
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    folder.close()
    folder.close()
    assert list((tmp_path / 'new').iterdir()) == []


def test_one_in_use_is_left_alone(tmp_path: Path) -> None:
    one = Folder(tmp_path)
    other = Folder(tmp_path)
    assert one.path.is_dir()
    other.close()
    assert one.path.is_dir()
    one.close()


@pytest.mark.fault
def test_the_next_one_removes_what_a_killed_owner_left(tmp_path: Path) -> None:
    left = abandon(tmp_path)
    (left / 'broker.log').write_text('last words')
    assert left.is_dir()
    Folder(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault
def test_one_of_another_machine_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = abandon(tmp_path)
    monkeypatch.setattr(folder_module.socket, 'gethostname', lambda: 'elsewhere')
    Folder(tmp_path).close()
    assert left.is_dir()


def test_one_that_is_not_yet_locked_is_left_alone(tmp_path: Path) -> None:
    young = tmp_path / 'parsl-streaming-broker-young'
    young.mkdir()
    (young / 'owner').touch()
    Folder(tmp_path).close()
    assert young.is_dir()
