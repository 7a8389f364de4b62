from __future__ import annotations

import socket
import time
from collections.abc import Callable
from collections.abc import Iterator

import pytest
import zmq

from parsl_streaming.errors import ConfigError
from parsl_streaming_dts import door as module
from parsl_streaming_dts.door import Door
from parsl_streaming_dts.stream import Stream

TOKEN = b'sixteen bytes...'


@pytest.fixture
def poller() -> zmq.Poller:
    return zmq.Poller()


@pytest.fixture
def door(poller: zmq.Poller) -> Iterator[Door]:
    door = Door(['127.0.0.1', '::1'], poller)
    yield door
    door.close()


@pytest.fixture
def call(door: Door) -> Iterator[Callable[..., Stream]]:
    streams = []

    def dial(token: bytes = TOKEN) -> Stream:
        streams.append(Stream.dial('127.0.0.1', door.ports[0], token, 0))
        return streams[-1]

    yield dial
    for stream in streams:
        stream.close()


def serve(door: Door, poller: zmq.Poller, until: Callable[[list[bytes]], object]) -> list[bytes]:
    tokens: list[bytes] = []
    limit = time.monotonic() + 10
    while not until(tokens):
        assert time.monotonic() < limit, 'it did not happen in time'
        for file, _ in poller.poll(10):
            assert isinstance(file, int)
            if (token := door.serve(file)) is not None:
                tokens.append(token)
    return tokens


def test_a_token_opens_it(door: Door, poller: zmq.Poller, call: Callable[..., Stream]) -> None:
    stream = call()
    stream.push()
    assert door.claim(TOKEN) is None
    assert serve(door, poller, lambda tokens: tokens) == [TOKEN]
    claimed = door.claim(TOKEN)
    assert claimed is not None
    assert door.claim(TOKEN) is None
    claimed.close()
    assert door.refused == 0


def test_each_address_has_its_port(door: Door, poller: zmq.Poller) -> None:
    with socket.create_connection(('::1', door.ports[1])):
        serve(door, poller, lambda _: door._strangers)


def test_an_address_of_another_host_is_a_mistake_of_the_configuration(poller: zmq.Poller) -> None:
    with pytest.raises(ConfigError, match=r'cannot listen on 192\.0\.2\.1 .* `addresses`'):
        Door(['127.0.0.1', '192.0.2.1'], poller)


@pytest.mark.parametrize('token', [b'', b'too short', b'too long for a token'])
def test_another_beginning_is_sent_away(
    door: Door, poller: zmq.Poller, call: Callable[..., Stream], token: bytes
) -> None:
    stream = call(token)

    def is_over(_: list[bytes]) -> bool:
        stream.push()
        stream.read()
        return stream.broken

    assert serve(door, poller, is_over) == []
    assert door.refused == 1
    assert not door._strangers


def test_strangers_are_few_and_the_oldest_makes_room(
    door: Door,
    poller: zmq.Poller,
    call: Callable[..., Stream],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, 'MAX_STRANGERS', 2)
    silent = [call(b'') for _ in range(3)]
    serve(door, poller, lambda _: door.refused)
    assert len(door._strangers) == 2
    last = call()
    assert serve(door, poller, lambda tokens: last.push() or tokens) == [TOKEN]
    assert len(silent) == 3


def test_strangers_do_not_stay(
    door: Door,
    poller: zmq.Poller,
    call: Callable[..., Stream],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = call()
    serve(door, poller, lambda tokens: first.push() or tokens)
    monkeypatch.setattr(module, 'STRANGER_SECONDS', 0.0)
    second = call(bytes(16))
    serve(door, poller, lambda _: second.push() or door.refused)
    assert door.claim(TOKEN) is None
