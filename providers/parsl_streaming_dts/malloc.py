"""Keep large buffers mapped between messages (glibc only).

By default glibc gives every buffer above 128 KiB back to the kernel when it is
freed, so each large message costs its page faults again: about 15 % of the
throughput at 1 MB, and several times the round trip.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Final

OPT_OUT: Final = 'PARSL_STREAMING_KEEP_MALLOC'
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_ONE_GIB: Final = 1 << 30


@cache
def keep_large_buffers() -> bool:
    """Tell glibc's malloc to keep freed memory; says whether it was done.

    It concerns the whole process, so the environment variable
    `PARSL_STREAMING_KEEP_MALLOC` turns it off.
    """
    if os.environ.get(OPT_OUT):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # not glibc
        return False
    kept = mallopt(_M_MMAP_THRESHOLD, _ONE_GIB) and mallopt(_M_TRIM_THRESHOLD, _ONE_GIB)
    return bool(kept)
