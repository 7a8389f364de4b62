from __future__ import annotations

import stat
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from parsl_streaming import curve
from parsl_streaming.errors import ConfigError
from parsl_streaming.errors import NotAuthorised
from parsl_streaming.errors import UsageError


def test_a_key_file_is_its_owners_alone(tmp_path: Path) -> None:
    pair = curve.KeyPair.new()
    path = tmp_path / 'site.key'
    pair.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert curve.KeyPair.load(path) == pair
    assert pair.secret not in repr(pair)


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / 'site.key'
    curve.KeyPair.new().save(path)
    with pytest.raises(FileExistsError):
        curve.KeyPair.new().save(path)


@pytest.mark.parametrize('mode', [0o640, 0o604, 0o660])
def test_a_key_file_that_others_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / 'site.key'
    curve.KeyPair.new().save(path)
    path.chmod(mode)
    with pytest.raises(NotAuthorised, match='chmod 600'):
        curve.KeyPair.load(path)


@pytest.mark.parametrize('text', ['', 'x' * 40, f'{"x" * 40}\n{"y" * 39}\n', 'a b c'])
def test_what_holds_no_keys_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / 'site.key'
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match='two lines') as caught:
        curve.KeyPair.load(path)
    assert not text.strip() or text.strip() not in str(caught.value)


def test_a_missing_key_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotAuthorised, match='No such file'):
        curve.KeyPair.load(tmp_path / 'none.key')


def test_an_old_libzmq_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    curve.require_libzmq()
    monkeypatch.setattr(zmq, 'zmq_version_info', lambda: (4, 3, 4))
    with pytest.raises(UsageError, match='too old'):
        curve.require_libzmq()


def test_a_libzmq_without_curve_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zmq, 'has', lambda capability: capability != 'curve')
    with pytest.raises(UsageError, match='CURVE'):
        curve.require_libzmq()


@pytest.mark.parametrize('known', [True, False])
def test_the_gatekeeper_admits_by_key(*, known: bool) -> None:
    server, client = curve.KeyPair.new(), curve.KeyPair.new()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    curve.Gatekeeper(context, lambda key: known and key == client.public)
    with context.socket(zmq.ROUTER) as listening, context.socket(zmq.DEALER) as dialling:
        listening.linger = dialling.linger = 0
        curve.make_server(listening, server)
        curve.make_client(dialling, client, server.public)
        port = listening.bind_to_random_port('tcp://127.0.0.1')
        dialling.connect(f'tcp://127.0.0.1:{port}')
        dialling.send(b'hello')
        assert bool(listening.poll(5000 if known else 200)) == known
    context.term()


def test_a_key_that_becomes_known_in_time_is_admitted() -> None:
    server, clients, known = curve.KeyPair.new(), [curve.KeyPair.new() for _ in range(3)], set()
    asked = threading.Event()

    def admits(key: str) -> bool:
        asked.set()
        return key in known

    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    curve.Gatekeeper(context, admits, 5.0)
    with ExitStack() as stack:
        listening = stack.enter_context(context.socket(zmq.ROUTER))
        curve.make_server(listening, server)
        port = listening.bind_to_random_port('tcp://127.0.0.1')
        for client in clients:
            dialling = stack.enter_context(context.socket(zmq.DEALER))
            dialling.linger = 0
            curve.make_client(dialling, client, server.public)
            dialling.connect(f'tcp://127.0.0.1:{port}')
            dialling.send(client.public.encode())
        assert asked.wait(5)
        assert not listening.poll(50)
        for client in (clients[2], clients[0]):
            known.add(client.public)
            frame = listening.recv_multipart(copy=False)[1]
            assert frame.bytes.decode() == frame['User-Id'] == client.public
        assert not listening.poll(50)
    context.term()


def test_a_client_of_another_server_hears_nothing() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    curve.Gatekeeper(context, lambda key: True)
    with context.socket(zmq.ROUTER) as listening, context.socket(zmq.DEALER) as dialling:
        listening.linger = dialling.linger = 0
        curve.make_server(listening, curve.KeyPair.new())
        curve.make_client(dialling, curve.KeyPair.new(), curve.KeyPair.new().public)
        port = listening.bind_to_random_port('tcp://127.0.0.1')
        dialling.connect(f'tcp://127.0.0.1:{port}')
        dialling.send(b'hello')
        assert not listening.poll(200)
    context.term()


@pytest.mark.parametrize('lease', [0.001, 0.2, 5.0, 60.0])
def test_a_heartbeat_is_well_within_the_lease(lease: float) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        curve.set_heartbeat(socket, lease)
        interval = socket.getsockopt(zmq.HEARTBEAT_IVL)
        patience = socket.getsockopt(zmq.HEARTBEAT_TIMEOUT)
        assert isinstance(interval, int)
        assert isinstance(patience, int)
        assert 0 < interval <= max(1, lease * 250)
        assert 0 < patience <= max(1, lease * 500)
