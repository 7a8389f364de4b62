"""The protocol: any split of the bytes gives the same replies, and views stay valid."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_streaming_mss.resp import COPY_BELOW
from parsl_streaming_mss.resp import WAITING
from parsl_streaming_mss.resp import Connection
from parsl_streaming_mss.resp import ErrorReply
from parsl_streaming_mss.resp import ReplyParser
from parsl_streaming_mss.resp import pack

SIZES = st.sampled_from([0, 1, 100, COPY_BELOW - 1, COPY_BELOW, 9000, 70_000])
VALUES = st.recursive(
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.builds(lambda size, byte: bytes([byte]) * size, SIZES, st.integers(0, 255)),
    lambda children: st.lists(children, max_size=4),
    max_leaves=8,
)


def encode(value: Any) -> bytes:
    if value is None:
        return b'$-1\r\n'
    if isinstance(value, int):
        return b':%d\r\n' % value
    if isinstance(value, bytes):
        return b'$%d\r\n%b\r\n' % (len(value), value)
    return b'*%d\r\n' % len(value) + b''.join(map(encode, value))


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(each) for each in value]
    return bytes(value) if isinstance(value, memoryview) else value


def feed(parser: ReplyParser, data: bytes, cuts: list[int]) -> list:
    replies, at = [], 0
    steps = iter(cuts)
    while at < len(data):
        space = parser.space()
        part = data[at : at + min(len(space), next(steps, len(data)))]
        space[: len(part)] = part
        space.release()
        parser.received(len(part))
        at += len(part)
        while (reply := parser.parse()) is not WAITING:
            replies.append(reply)
    return replies


@given(st.lists(VALUES, max_size=5), st.lists(st.integers(1, 50_000), max_size=40))
def test_any_split_gives_the_same_replies(values: Any, cuts: Any) -> None:
    parser = ReplyParser(1 << 14)
    replies = feed(parser, b''.join(map(encode, values)), cuts)
    assert [plain(reply) for reply in replies] == values


def test_a_buffer_with_views_is_not_filled_again() -> None:
    parser = ReplyParser(1 << 14)
    kept = []
    for i in range(200):
        kept += feed(parser, encode(bytes([i]) * 5000), [])
    assert [bytes(view) for view in kept] == [bytes([i]) * 5000 for i in range(200)]


def test_a_buffer_without_views_is() -> None:
    parser = ReplyParser(1 << 14)
    for i in range(100):
        feed(parser, encode(bytes([i]) * 5000), [])
    buffers = {id(parser._buffer), *map(id, parser._pool)}
    assert len(buffers) <= 2


def test_words_errors_and_nothing() -> None:
    replies = feed(ReplyParser(1 << 10), b'+OK\r\n-OOM no room\r\n*-1\r\n*0\r\n', [])
    assert replies == [b'OK', ErrorReply('OOM no room'), None, []]
    assert replies[1].code == 'OOM'


def test_bytes_that_are_no_reply_break_the_connection() -> None:
    with pytest.raises(ConnectionError):
        feed(ReplyParser(1 << 10), b'HTTP/1.1 400\r\n', [])


@given(st.lists(st.builds(bytes, SIZES) | st.text(max_size=5) | st.integers(), min_size=1))
def test_commands_are_arrays_of_strings(arguments: Any) -> None:
    parts: list = []
    pack(parts, arguments)
    texts = [a if isinstance(a, bytes) else str(a).encode() for a in arguments]
    assert b''.join(parts) == encode(texts)


def test_large_arguments_are_not_copied() -> None:
    payload = bytearray(COPY_BELOW)
    parts: list = []
    pack(parts, ['XADD', memoryview(payload)])
    payload[0] = 1
    assert bytes(parts[1])[:1] == b'\x01'


def test_a_connection_sends_everything_and_notices_the_end() -> None:
    near, far = socket.socketpair()
    with far:
        near.settimeout(5)
        connection = Connection(near, 1 << 12)
        far.sendall(b'+PONG\r\n')
        assert connection.ask(['PING']) == [b'PONG']
        assert far.recv(100) == b'*1\r\n$4\r\nPING\r\n'
        assert connection.receive(0) is WAITING
        with pytest.raises(TimeoutError, match='no reply'):
            connection.ask(['PING'], timeout=0.01)
        far.close()
        with pytest.raises(OSError, match=r'closed|reset'):
            connection.receive(1)
        connection.close()
