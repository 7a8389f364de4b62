"""Opening ends from tickets."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sessions import PATIENCE
from sessions import configuration

import parsl_streaming
from parsl_streaming import Session
from parsl_streaming import version
from parsl_streaming.curve import KeyPair
from parsl_streaming.ends import open_reader
from parsl_streaming.ends import open_writer
from parsl_streaming.errors import ConfigError
from parsl_streaming.errors import EndOfStream
from parsl_streaming.errors import NotAuthorised
from parsl_streaming.errors import ProducerNameTaken
from parsl_streaming.errors import UnknownChannel
from parsl_streaming.errors import VersionMismatch
from parsl_streaming.route import Ticket


@pytest.fixture(params=['memory', 'dts'])
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Session]:
    config = configuration(tmp_path, frames={})
    with parsl_streaming.load(config, architecture=request.param) as session:
        yield session


def _ticket(session: Session, role: str, **fields: str) -> Ticket:
    ticket = session.ticket('frames', role, **fields).result(PATIENCE)
    copy: Ticket = pickle.loads(pickle.dumps(ticket))
    assert copy == ticket
    return copy


def test_ends_from_tickets_that_travelled(session: Session) -> None:
    with open_reader(_ticket(session, 'reader')) as reader:
        with open_writer(_ticket(session, 'writer', name='w')) as writer:
            writer.send({'a': [1, b'2']})
            message = reader.receive(PATIENCE)
            assert message.value == {'a': [1, b'2']}
            assert message.id[:2] == ('w', 1)
            message.ack()
        with pytest.raises(EndOfStream):
            reader.receive(PATIENCE)


def test_same_ticket_again_is_a_newer_epoch(session: Session) -> None:
    ticket = _ticket(session, 'writer', name='w')
    first = open_writer(ticket)
    second = open_writer(ticket)
    reader = open_reader(_ticket(session, 'reader'))
    second.send('from the second')
    message = reader.receive(PATIENCE)
    assert message.id[:2] == ('w', 2)
    message.ack()
    second.close()
    assert list(reader) == []
    reader.close()
    first.abort('it was fenced')


def test_another_call_cannot_take_the_name(session: Session) -> None:
    ticket = _ticket(session, 'writer', name='w')
    with pytest.raises(ProducerNameTaken):
        open_writer(replace(ticket, call='another'))
    open_writer(ticket).close()
    assert session.statistics('frames').sent == 0


def test_version_of_the_submit_side(session: Session) -> None:
    ticket = _ticket(session, 'reader')
    other = replace(ticket, route=replace(ticket.route, version='0.0.1'))
    with pytest.raises(VersionMismatch, match=r'but 0\.0\.1 on the submit side: install the same'):
        open_reader(other)


def test_version_of_the_worker(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = _ticket(session, 'reader')
    monkeypatch.setattr(version, 'VERSION', '99.0')
    for open_end in (open_reader, open_writer):
        with pytest.raises(VersionMismatch, match=r'99\.0 runs here'):
            open_end(ticket)


def test_unknown_architecture_on_the_worker(session: Session) -> None:
    ticket = _ticket(session, 'reader')
    with pytest.raises(ConfigError, match='"carrier-pigeon" is not installed'):
        open_reader(replace(ticket, route=replace(ticket.route, architecture='carrier-pigeon')))


def test_unknown_channel_at_the_registry(session: Session) -> None:
    ticket = _ticket(session, 'reader')
    channel = replace(ticket.route.channel, name='elsewhere')
    with pytest.raises(UnknownChannel, match="'elsewhere' is not provisioned"):
        open_reader(replace(ticket, route=replace(ticket.route, channel=channel)))


def test_role_of_another_site(session: Session) -> None:
    ticket = _ticket(session, 'reader')
    reader_at_the_writers = replace(ticket.route, target=ticket.route.source)
    with pytest.raises(NotAuthorised, match="site 'beamline' may not open a reader"):
        open_reader(replace(ticket, route=reader_at_the_writers))


def test_key_file_that_others_can_read(session: Session) -> None:
    ticket = _ticket(session, 'reader')
    Path(ticket.site.key_file or '').chmod(0o644)
    with pytest.raises(NotAuthorised, match='chmod 600'):
        open_reader(ticket)


def test_key_file_that_is_not_there(session: Session, tmp_path: Path) -> None:
    ticket = _ticket(session, 'reader')
    site = replace(ticket.site, key_file=str(tmp_path / 'none.key'))
    with pytest.raises(NotAuthorised, match=r'none\.key: No such file'):
        open_reader(replace(ticket, route=replace(ticket.route, target=site)))


def test_key_of_another_session(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('parsl_streaming.attendant.DIAL_SECONDS', 0.5)
    KeyPair.new().save(tmp_path / 'other.key')
    ticket = _ticket(session, 'reader')
    site = replace(ticket.site, key_file=str(tmp_path / 'other.key'))
    with pytest.raises(parsl_streaming.errors.RegistryUnreachable, match='the key of this session'):
        open_reader(replace(ticket, route=replace(ticket.route, target=site)))
