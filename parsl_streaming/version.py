"""The version, and the check that two processes run the same one."""

from __future__ import annotations

from parsl_streaming.errors import VersionMismatch

VERSION = '0.1.0'


def require_version(theirs: str, who: str) -> None:
    """Refuse to work with another version.

    Raises:
        VersionMismatch: `theirs` is not this version.
    """
    if theirs != VERSION:
        msg = (
            f'parsl_streaming {VERSION} runs here but {theirs} on {who}: install the same version '
            'on every site'
        )
        raise VersionMismatch(msg)
