from __future__ import annotations

import pytest

from parsl_streaming.errors import VersionMismatch
from parsl_streaming.version import VERSION
from parsl_streaming.version import require_version


def test_the_same_version_is_fine() -> None:
    require_version(VERSION, 'site a')
    with pytest.raises(VersionMismatch):
        require_version(VERSION + '.1', 'site a')


def test_another_version_is_refused_with_both_named() -> None:
    with pytest.raises(VersionMismatch, match=rf'{VERSION} runs here but 9\.9 on site a'):
        require_version('9.9', 'site a')
