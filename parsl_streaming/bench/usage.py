"""What processes that are not ours to start used: a broker, for example."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf('SC_CLK_TCK')
_PARENT, _USER, _SYSTEM = 1, 11, 12
CONGESTION_CONTROL: Final = Path('/proc/sys/net/ipv4/tcp_congestion_control')


def congestion_control() -> str | None:
    """The system's default TCP congestion control; `None` where it is not known."""
    with suppress(OSError):
        return CONGESTION_CONTROL.read_text(encoding='ascii').strip()
    return None


def children(without: Collection[int] = ()) -> set[int]:
    """Processes that this one started and that still run (a broker is one)."""
    found = set()
    for entry in Path('/proc').glob('[0-9]*'):
        fields = _stat(int(entry.name))
        if fields and int(fields[_PARENT]) == os.getpid() and int(entry.name) not in without:
            found.add(int(entry.name))
    return found


def cpu_seconds(pids: Collection[int]) -> float:
    """User and system seconds of these processes so far."""
    stats = [fields for pid in pids if (fields := _stat(pid))]
    return sum(int(fields[_USER]) + int(fields[_SYSTEM]) for fields in stats) / _TICKS


def peak_rss_kib(pids: Collection[int]) -> int:
    """The largest resident size that one of these processes ever had, in KiB."""
    return max((_peak(pid) for pid in pids), default=0)


def _peak(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f'/proc/{pid}/status').read_text(encoding='utf-8').splitlines():
            if line.startswith('VmHWM:'):
                return int(line.split()[1])
    return 0


def _stat(pid: int) -> list[str]:
    """Fields from the state on; the program's name before them may hold anything."""
    with suppress(OSError):
        return Path(f'/proc/{pid}/stat').read_text(encoding='utf-8').rpartition(')')[2].split()
    return []
