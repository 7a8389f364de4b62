from __future__ import annotations

import socket
import time
from collections.abc import Callable
from collections.abc import Iterator

import pytest

from parsl_streaming_dts import stream as module
from parsl_streaming_dts.stream import Stream
from parsl_streaming_dts.stream import linger

TOKEN = bytes(range(16))
Pair = tuple[Stream, Stream]


def wait(happened: Callable[[], object]) -> None:
    limit = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < limit, 'it did not happen in time'
        time.sleep(0.001)


def leave(stream: Stream) -> None:
    """Close it when what was sent has reached the other side."""
    linger([stream])
    stream.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(('127.0.0.1', 0)) as server:
        yield server


@pytest.fixture
def ends(listener: socket.socket) -> Iterator[Pair]:
    near = Stream.dial('127.0.0.1', listener.getsockname()[1], TOKEN, 1 << 20)
    far = Stream(listener.accept()[0], 1 << 20, 1 << 20)
    near.push()
    wait(lambda: far.read() is not None)
    yield near, far
    near.close()
    far.close()


def test_it_begins_with_the_token(listener: socket.socket) -> None:
    near = Stream.dial('127.0.0.1', listener.getsockname()[1], TOKEN, 0)
    near.send(b'head', b'body')
    far = Stream(listener.accept()[0], 100, 100)
    got = []

    def receive() -> bool:
        near.push()
        if (frame := far.read()) is not None:
            got.append((bytes(frame.head), bytes(frame.body)))
        return len(got) == 2

    wait(receive)
    assert got == [(TOKEN, b''), (b'head', b'body')]
    near.close()
    far.close()


def test_it_carries_both_ways(ends: Pair) -> None:
    near, far = ends
    far.send(b'reply', b'x')
    wait(lambda: near.read() is not None)
    assert near.connected
    assert far.connected


def test_nobody_there_is_a_broken_stream(free_port: Callable[[], int]) -> None:
    near = Stream.dial('127.0.0.1', free_port(), TOKEN, 0)

    def is_broken() -> bool:
        near.push()
        return near.broken

    wait(is_broken)
    assert not near.connected
    leave(near)


def test_an_unknown_host_is_a_broken_stream() -> None:
    near = Stream.dial('no-such-host.invalid', 1, TOKEN, 0)
    assert near.broken
    assert not near.connected
    leave(near)


def test_the_other_sides_end_is_seen_after_what_it_sent(ends: Pair) -> None:
    near, far = ends
    near.send(b'last', b'words')
    leave(near)
    frames = []

    def receive() -> bool:
        if (frame := far.read()) is not None:
            frames.append(bytes(frame.head))
        return far.broken

    wait(receive)
    assert frames == [b'last']


def test_unread_input_does_not_cost_the_last_words(ends: Pair) -> None:
    """Closing a socket with unread input resets the connection."""
    near, far = ends
    far.send(b'unread', bytes(1000))
    near.send(b'last', bytes(50_000))
    leave(near)
    assert (frame := far.read()) is not None
    assert bytes(frame.head) == b'last'


def test_lingering_is_bounded(ends: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'LINGER_SECONDS', 0.05)
    near, _ = ends
    while not near.pending:
        near.send(b'nobody reads', bytes(1 << 20))
    leave(near)


def test_a_frame_that_is_too_long_breaks_it(ends: Pair) -> None:
    near, far = ends
    far.expect(4, 4)
    near.send(b'12345', b'')
    wait(lambda: far.read() is not None or far.broken)
    assert far.broken
