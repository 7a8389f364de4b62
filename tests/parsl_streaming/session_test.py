"""Sessions: provisioning, tickets, and what remains afterwards."""

from __future__ import annotations

import pickle
import shutil
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from sessions import PATIENCE
from sessions import configuration

import parsl_streaming
from parsl_streaming.architectures import register
from parsl_streaming.architectures import unregister
from parsl_streaming.config import load_config
from parsl_streaming.curve import KeyPair
from parsl_streaming.errors import BrokerUnavailable
from parsl_streaming.errors import ConfigError
from parsl_streaming.errors import NoRoute
from parsl_streaming.errors import NotAuthorised
from parsl_streaming.errors import UnknownChannel
from parsl_streaming.seam import Provision
from parsl_streaming.session import Session
from parsl_streaming.testing import MemoryStreaming

SECRET = 'hunter2-of-the-broker'


class Difficult(MemoryStreaming):
    """Keeps a secret; fails where it is told to."""

    fails: str = ''
    log: list[str]

    def _do(self, step: str) -> None:
        self.log.append(step)
        if step == self.fails:
            msg = f'{step} failed'
            raise BrokerUnavailable(msg)

    def provision(self, *args: Any) -> Provision:
        self._do('provision')
        return Provision({'host': 'here'}, {'password': SECRET})

    def release(self, *args: Any) -> None:
        self._do('release')

    def close(self) -> None:
        self._do('close')


@pytest.fixture
def difficult() -> Any:
    class Own(Difficult):
        log: list[str] = []  # noqa: RUF012 (one class per test)

    register('difficult', Own)
    yield Own
    unregister('difficult')


def _session(directory: Path, architecture: str = 'difficult', **channels: Any) -> Session:
    config = configuration(directory, **(channels or {'frames': {}}))
    return Session(load_config(config), architecture)


def test_provisions_once_and_only_what_is_used(tmp_path: Path, difficult: Any) -> None:
    with _session(tmp_path, frames={}, peaks={}) as session:
        tickets = [session.ticket('frames', 'reader').result(PATIENCE) for _ in range(3)]
        assert len({ticket.name for ticket in tickets}) == 3
        assert list(session.routes) == ['frames']
    assert difficult.log == ['provision', 'release', 'close']


def test_ticket_names_its_place(tmp_path: Path) -> None:
    with _session(tmp_path, 'memory', frames={}, news={'pattern': 'broadcast'}) as session:
        writer = session.ticket('frames', 'writer', label='acquire', call='c').result(PATIENCE)
        assert (writer.name, writer.role, writer.group) == ('acquire-1', 'writer', '')
        assert (writer.site.name, writer.call) == ('beamline', 'c')
        reader = session.ticket('frames', 'reader').result(PATIENCE)
        assert (reader.group, reader.site.name) == ('default', 'hpc')
        each = [session.ticket('news', 'reader').result(PATIENCE) for _ in range(2)]
        assert each[0].group != each[1].group


def test_next_candidate_is_tried_and_the_fallback_is_told(tmp_path: Path, difficult: Any) -> None:
    difficult.fails = 'provision'
    config = configuration(tmp_path, frames={})
    names = ('difficult', 'memory')
    config['policy'] = [{'name': f'try-{n}', 'use': n} for n in names]
    with Session(load_config(config)) as session:
        assert session.route('frames').result(PATIENCE).architecture == 'memory'
        outcome = session.outcomes['frames']
    assert outcome.architecture == 'memory'
    assert dict(outcome.failures) == {'difficult': 'provision failed'}


def test_a_promise_that_no_architecture_gives_is_refused_at_load(
    tmp_path: Path, difficult: Any
) -> None:
    with pytest.raises(ConfigError, match='does not give durability "disk"'):
        _session(tmp_path, frames={'durability': 'disk'})
    assert difficult.log == []
    assert not list(tmp_path.rglob('*.key'))


def test_nothing_can_be_opened(tmp_path: Path, difficult: Any) -> None:
    difficult.fails = 'provision'
    with (
        _session(tmp_path) as session,
        pytest.raises(NoRoute, match=r"'frames'.*difficult: provision failed"),
    ):
        session.ticket('frames', 'reader').result(PATIENCE)
    assert difficult.log == ['provision', 'close']


def test_secrets_stay_out_of_what_is_shown_and_sent(tmp_path: Path, difficult: Any) -> None:
    with _session(tmp_path) as session:
        ticket = session.ticket('frames', 'writer').result(PATIENCE)
        keys = [KeyPair.load(path) for path in session.directory.glob('*.key')]
        channel = session._registry.channel('frames')
        shown = f'{ticket!r} {ticket.route!r} {session!r} {channel!r} {session.config!r} {keys!r}'
        sent = pickle.dumps([ticket, ticket.route])
        assert len(keys) == 3
        assert channel.secrets == {'password': SECRET}
        assert channel.secret is not None
        for secret in (SECRET.encode(), channel.secret, *(key.secret.encode() for key in keys)):
            assert secret not in sent
            assert secret not in shown.encode()
            assert repr(secret).encode() not in shown.encode()
            assert secret.hex() not in shown


def test_files_are_private_and_go_away(tmp_path: Path) -> None:
    with _session(tmp_path, 'memory') as session:
        files = list(session.directory.rglob('*'))
        assert {path.name for path in files} == {'beamline.key', 'hpc.key', 'submit.key'}
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert stat.S_IMODE(session.directory.stat().st_mode) == 0o700
    assert list((tmp_path / 'streaming').iterdir()) == []
    session.close()


def test_a_directory_that_somebody_removed_is_removed(tmp_path: Path) -> None:
    with _session(tmp_path, 'memory') as session:
        shutil.rmtree(session.directory)


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('directory', '/proc/nowhere', r'session\.directory: /proc/nowhere cannot be written'),
        (
            'registry_address',
            '192.0.2.1',
            r'session\.registry_address: cannot listen on 192\.0\.2\.1 .* address of this host',
        ),
    ],
)
def test_a_place_that_cannot_be_used_is_a_mistake_of_the_configuration(
    tmp_path: Path, key: str, value: str, message: str
) -> None:
    config = configuration(tmp_path, frames={})
    config['session'][key] = value
    with pytest.raises(ConfigError, match=message):
        Session(load_config(config))
    assert list(tmp_path.rglob('*.key')) == []


@pytest.mark.parametrize('step', ['release', 'close'])
def test_everything_is_closed_even_if_one_thing_cannot(
    tmp_path: Path, difficult: Any, step: str
) -> None:
    difficult.fails = step
    session = _session(tmp_path)
    session.route('frames').result(PATIENCE)
    with pytest.raises(BrokerUnavailable, match=f'{step} failed'):
        session.close()
    assert difficult.log == ['provision', 'release', 'close']
    assert not session.directory.exists()


def _with_own_key(directory: Path, mode: int) -> Session:
    path = directory / 'own.key'
    KeyPair.new().save(path)
    path.chmod(mode)
    config = configuration(directory, frames={})
    config['sites']['hpc']['key_file'] = str(path)
    return Session(load_config(config), 'memory')


def test_key_file_of_a_site_is_used_and_kept(tmp_path: Path) -> None:
    with _with_own_key(tmp_path, 0o600) as session:
        ticket = session.ticket('frames', 'reader').result(PATIENCE)
        assert ticket.site.key_file == str(tmp_path / 'own.key')
    assert (tmp_path / 'own.key').exists()


@pytest.mark.parametrize('mode', [0o644, 0o640, 0o604])
def test_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(NotAuthorised, match='chmod 600'):
        _with_own_key(tmp_path, mode)
    assert list((tmp_path / 'streaming').iterdir()) == []


def test_statistics_and_letters_of_an_unused_channel(tmp_path: Path) -> None:
    with _session(tmp_path, 'memory') as session:
        with pytest.raises(UnknownChannel, match="'frames' is not provisioned"):
            session.statistics('frames')
        with pytest.raises(UnknownChannel):
            session.dead_letters('frames')


def test_a_failure_after_the_end_is_no_news(tmp_path: Path) -> None:
    with _session(tmp_path, 'memory') as session:
        ticket = session.ticket('frames', 'writer').result(PATIENCE)
    session.fail(ticket, 'too late')
    assert repr(session) == f"Session(id={session.id!r}, channels=['frames'])"


def test_a_failure_that_is_told_while_the_session_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = _session(tmp_path, 'memory')
    ticket = session.ticket('frames', 'writer').result(PATIENCE)
    log: list[str] = []
    begun, closing = threading.Event(), threading.Event()
    fail, close = session._registry.fail, session._registry.close

    def slow_fail(*args: str) -> None:
        begun.set()
        closing.wait(PATIENCE)
        closer.join(0.2)
        fail(*args)
        log.append('failed')

    def noted_close() -> None:
        log.append('closed')
        close()

    monkeypatch.setattr(session._registry, 'fail', slow_fail)
    monkeypatch.setattr(session._registry, 'close', noted_close)
    closer = threading.Thread(target=session.close)
    teller = threading.Thread(target=session.fail, args=(ticket, 'its worker died'))
    teller.start()
    assert begun.wait(PATIENCE)
    closer.start()
    closing.set()
    for thread in (teller, closer):
        thread.join(PATIENCE)
    assert log == ['failed', 'closed']


def test_two_sessions_at_once(tmp_path: Path) -> None:
    with _session(tmp_path, 'memory') as one, _session(tmp_path, 'memory') as other:
        assert one.id != other.id
        assert one.directory != other.directory
        writers = [each.ticket('frames', 'writer', name='w') for each in (one, other)]
        for writer in writers:
            parsl_streaming.ends.open_writer(writer.result(PATIENCE)).close()
