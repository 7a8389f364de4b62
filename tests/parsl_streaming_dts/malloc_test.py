from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator

import pytest

from parsl_streaming_dts import malloc


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    malloc.keep_large_buffers.cache_clear()
    yield
    malloc.keep_large_buffers.cache_clear()


def test_glibc_is_told() -> None:
    assert malloc.keep_large_buffers() == (platform.libc_ver()[0] == 'glibc')


def test_the_environment_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(malloc.OPT_OUT, '1')
    assert not malloc.keep_large_buffers()


def test_another_libc_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, 'CDLL', lambda name: object())
    assert not malloc.keep_large_buffers()
