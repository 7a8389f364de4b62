"""Frames on a socket pair: whatever the pieces, the same frames come out."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from parsl_streaming.errors import IntegrityError
from parsl_streaming_dts.frames import AGAIN
from parsl_streaming_dts.frames import STAGE_BYTES
from parsl_streaming_dts.frames import Frame
from parsl_streaming_dts.frames import Incoming
from parsl_streaming_dts.frames import Outgoing

SIZES = st.one_of(
    st.integers(0, 100),
    st.sampled_from([STAGE_BYTES - 17, STAGE_BYTES - 16, STAGE_BYTES, STAGE_BYTES + 1, 100_000]),
)


def pair() -> tuple[socket.socket, socket.socket]:
    near, far = socket.socketpair()
    near.settimeout(0)
    far.settimeout(0)
    return near, far


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = pair()
    yield near, far
    near.close()
    far.close()


def encoded(*frames: tuple[bytes, bytes, int]) -> bytes:
    return b''.join(
        struct.pack('<IIQ', flags, len(head), len(body)) + head + body
        for head, body, flags in frames
    )


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.tuples(SIZES, SIZES, st.integers(0, 3)), max_size=6),
    cuts=st.lists(st.integers(1, 40_000), min_size=1, max_size=20),
)
def test_frames_come_back_however_they_are_cut(
    sizes: list[tuple[int, int, int]], cuts: list[int]
) -> None:
    frames = [(b'h' * h, bytes([i % 251]) * b, f) for i, (h, b, f) in enumerate(sizes)]
    data, incoming, got = memoryview(encoded(*frames)), Incoming(200_000, 200_000), []
    near, far = pair()
    with near, far:
        while data or len(got) < len(frames):
            piece = cuts[len(data) % len(cuts)]
            if data:
                data = data[near.send(data[:piece]) :]
            while (frame := incoming.read(far)) is not None:
                got.append((bytes(frame.head), bytes(frame.body), frame.flags))
    assert got == frames


def read_all(connection: socket.socket, limit: int) -> list[Frame]:
    incoming, frames = Incoming(limit, limit), []
    with suppress(IntegrityError, ConnectionError):
        while (frame := incoming.read(connection)) is not None:
            frames.append(frame)
    return frames


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200))
def test_no_bytes_make_it_fail_otherwise_or_take_more_than_allowed(data: bytes) -> None:
    near, far = pair()
    with near, far:
        near.sendall(data)
        near.close()
        frames = read_all(far, 64)
    assert all(max(len(frame.head), len(frame.body)) <= 64 for frame in frames)


@pytest.mark.parametrize(('head', 'body'), [(65, 0), (0, 65), (1 << 31, 1 << 63)])
def test_a_frame_beyond_the_limits_is_refused_before_it_comes(
    ends: tuple[socket.socket, socket.socket], head: int, body: int
) -> None:
    near, far = ends
    near.send(struct.pack('<IIQ', 0, head, body))
    with pytest.raises(IntegrityError, match='longer than allowed'):
        Incoming(64, 64).read(far)


def test_what_does_not_fit_waits_in_order(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    outgoing, incoming, got = Outgoing(), Incoming(1 << 20, 1 << 24), []
    frames = [(b'%d' % i, bytes([i]) * 1_000_000, AGAIN * (i % 2)) for i in range(8)]
    for frame in frames:
        outgoing.add(*frame)
        outgoing.push(near)
    assert outgoing
    while len(got) < len(frames):
        if (found := incoming.read(far)) is not None:
            got.append((bytes(found.head), bytes(found.body), found.flags))
        outgoing.push(near)
    assert not outgoing
    assert got == frames


def test_a_received_body_is_its_readers_own(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    incoming = Incoming(64, 1 << 20)
    near.sendall(encoded((b'1', b'one', 0), (b'2', b'two', 0)))
    first, second = incoming.read(far), incoming.read(far)
    assert first is not None
    assert second is not None
    assert (bytes(first.body), bytes(second.body)) == (b'one', b'two')
    assert incoming.read(far) is None
