from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from parsl_streaming_dts.race import first_reachable

SILENT = ('192.0.2.1', 9)
"""An address of documentation, to which nothing answers."""


@pytest.fixture
def listening() -> tuple[socket.socket, tuple[str, int]]:
    server = socket.create_server(('127.0.0.1', 0))
    return server, ('127.0.0.1', server.getsockname()[1])


def test_the_one_that_accepts_wins(
    listening: tuple[socket.socket, tuple[str, int]], free_port: Callable[[], int]
) -> None:
    server, address = listening
    with server:
        closed = ('127.0.0.1', free_port())
        assert first_reachable([closed, address]) == 1
        assert first_reachable([address, closed]) == 0
        assert first_reachable([SILENT, closed, address], 2.0) == 2


def test_none_wins_when_none_accepts(free_port: Callable[[], int]) -> None:
    closed = [('127.0.0.1', free_port()) for _ in range(2)]
    assert first_reachable(closed, 0.5) is None


def test_the_wait_is_bounded() -> None:
    assert first_reachable([SILENT, SILENT], 0.05) is None


def test_a_single_candidate_needs_no_race() -> None:
    assert first_reachable([SILENT]) == 0


@pytest.mark.parametrize('host', ['localhost', 'no.such.host.invalid', '::1'])
def test_names_and_families_mix(
    listening: tuple[socket.socket, tuple[str, int]], free_port: Callable[[], int], host: str
) -> None:
    server, address = listening
    with server:
        assert first_reachable([(host, free_port()), address]) == 1
