"""The reader's ports face a network: what comes in may be anything."""

from __future__ import annotations

import socket as sockets
import struct
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import zmq

from parsl_streaming import curve
from parsl_streaming_dts import control
from parsl_streaming_dts.stream import Stream

Stages = Callable[..., Any]
TOKEN = bytes(16)
GARBAGE = [
    b'GET / HTTP/1.1\r\n\r\n',
    bytes(1000),
    b'\xff' * 1000,
    struct.pack('<IIQ', 0, 16, 1) + TOKEN,
    struct.pack('<IIQ', 0, 15, 0) + TOKEN,
    struct.pack('<IIQ', 0, 17, 0) + TOKEN,
    struct.pack('<IIQ', 0, 1 << 31, 1 << 63),
]


@pytest.fixture
def dial() -> Iterator[Callable[..., Any]]:
    """Connects a socket to a port, with CURVE keys or without."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets = []

    def connect(port: int, keys: curve.KeyPair | None = None, server: str = '') -> Any:
        socket = context.socket(zmq.DEALER)
        socket.linger = 0
        if keys is not None:
            curve.make_client(socket, keys, server)
        socket.connect(f'tcp://127.0.0.1:{port}')
        sockets.append(socket)
        return socket

    yield connect
    for socket in sockets:
        socket.close()
    context.term()


def _ports(here: Any) -> tuple[int, int]:
    (reader,) = here.view.of('reader')
    ((_, control_port, data_port),) = reader.contact['addresses']
    return control_port, data_port


@pytest.mark.parametrize('data', GARBAGE)
def test_garbage_on_the_data_port_is_counted_and_nothing_else(stage: Stages, data: bytes) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()
    with sockets.create_connection(('127.0.0.1', _ports(here)[1])) as raw:
        raw.sendall(data)
        here.until(lambda: reader.statistics()['refused'] == 1, lambda: reader.read(0.01))
        assert _is_closed(raw)
    here.connect(writer, reader)
    writer.write(here.batch(b'fine'), 5)
    assert bytes(here.take(reader, writer).batch.body) == b'fine'


def _is_closed(raw: sockets.socket) -> bool:
    raw.settimeout(5)
    try:
        return raw.recv(1) == b''
    except ConnectionResetError:
        return True


def test_a_batch_from_a_connection_without_a_known_token_is_not_read(stage: Stages) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()
    here.connect(writer, reader)
    forged = here.batch(b'forged')
    with sockets.create_connection(('127.0.0.1', _ports(here)[1])) as raw:
        stranger = Stream(raw, 0, 0)
        stranger.send(TOKEN, b'')
        stranger.send(forged.head, forged.body)
        writer.write(here.batch(b'real'), 5)
        assert bytes(here.take(reader, writer).batch.body) == b'real'
        assert reader.read(0.05) is None


def test_a_batch_in_the_name_of_another_writer_is_refused(stage: Stages) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()
    here.connect(writer, reader)
    (peer,) = writer._peers.values()
    peer.send_raw(here.batch(b'forged', name='another'))
    peer.data.send(b'no batch', b'at all')
    here.until(lambda: reader.statistics()['refused'] == 2, lambda: reader.read(0.01))
    writer.write(here.batch(b'real'), 5)
    assert bytes(here.take(reader, writer).batch.body) == b'real'


def test_raw_bytes_on_the_control_port_disturb_nobody(stage: Stages) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()
    with sockets.create_connection(('127.0.0.1', _ports(here)[0])) as raw:
        raw.sendall(b'GET / HTTP/1.1\r\n\r\n' + bytes(1000))
    here.connect(writer, reader)
    writer.write(here.batch(b'fine'), 5)
    assert bytes(here.take(reader, writer).batch.body) == b'fine'


@pytest.mark.parametrize('with_keys', [True, False])
def test_a_key_that_nobody_announced_is_not_admitted(
    stage: Stages, dial: Callable[..., Any], *, with_keys: bool
) -> None:
    here = stage()
    reader = here.reader()
    here.declare('writer', 'p', '', 1)
    server = here.view.of('reader')[0].contact['key']
    stranger = dial(_ports(here)[0], curve.KeyPair.new() if with_keys else None, server)
    stranger.send(control.encode(control.HELLO, 'p', 1, b'data'))
    for _ in range(10):
        reader.read(0.02)
    assert reader._sources == {}
    assert not stranger.poll(0)


@pytest.mark.parametrize(
    'frames',
    [
        [b''],
        [b'\xc1'],
        [b'one', b'two', b'three'],
        [msgpack.packb([])],
        [msgpack.packb(['hello'])],
        [msgpack.packb(['hello', 1, 'p', None])],
        [msgpack.packb(['again', 'x', 'y', 'z'])],
        [msgpack.packb(['no such kind', 1])],
    ],
)
def test_an_admitted_writer_that_talks_nonsense_disturbs_nobody(
    stage: Stages, dial: Callable[..., Any], frames: list[bytes]
) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()
    vandal = curve.KeyPair.new()
    here.declare('writer', 'vandal', '', 1)
    here.change('writer', 'vandal', contact={'key': vandal.public}, state='open')
    server = here.view.of('reader')[0].contact['key']
    dial(_ports(here)[0], vandal, server).send_multipart(frames)
    here.connect(writer, reader)
    writer.write(here.batch(b'fine'), 5)
    assert bytes(here.take(reader, writer).batch.body) == b'fine'


def test_it_listens_on_the_declared_addresses_only(stage: Stages) -> None:
    here = stage()
    reader = here.reader()
    ((host, control_port, data_port),) = here.view.of('reader')[0].contact['addresses']
    assert host == '127.0.0.1'
    assert control_port != data_port
    endpoint = reader._control.getsockopt(zmq.LAST_ENDPOINT)
    assert b'127.0.0.1]:' in endpoint or b'//127.0.0.1:' in endpoint
    (listener,) = reader._inflow._door._listeners.values()
    assert listener.getsockname() == ('127.0.0.1', data_port)


def test_an_end_is_delivered_once(stage: Stages) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()
    here.connect(writer, reader)
    end = here.end()
    writer.write(end, 5)
    here.change('writer', 'p', contact={**_contact(here), 'end': [end.head, end.body]})
    assert here.take(reader, writer).batch.number == end.number
    assert [reader.read(0.01) for _ in range(5)] == [None] * 5


def test_the_end_of_a_writer_that_left_is_found_at_the_registry(stage: Stages) -> None:
    here = stage()
    reader = here.reader()
    here.declare('writer', 'p', '', 1)
    end = here.end()
    here.change('writer', 'p', state='closed', contact={'end': [end.head, end.body]})
    found = reader.read(0.01)
    assert found is not None
    assert found.batch.number == end.number
    assert reader.read(0.01) is None


def _contact(here: Any) -> dict[str, Any]:
    return dict(here.view.of('writer')[0].contact)


def test_letters_go_to_the_session(stage: Stages) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()
    here.connect(writer, reader)
    writer.write(here.batch(), 5)
    letter = here.batch(b'letter', name='r')
    reader.bury(here.take(reader, writer), letter)
    assert here.letters == [letter]


def test_a_delivery_of_a_writer_that_is_unknown_is_nobodys_business(stage: Stages) -> None:
    from parsl_streaming.seam import Delivery

    here = stage()
    reader = here.reader()
    stray = Delivery(here.batch(name='nobody'))
    reader.acknowledge(stray)
    reader.mark(stray, 1)
    reader.release(stray, 0)
    reader.reply(stray, here.batch())
    reader.extend(stray)
    reader.pump()
    assert reader.read(0.0) is None
    reader.close()
    reader.close()
