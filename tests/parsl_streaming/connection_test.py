"""One connection to the registry for all ends of a process and site."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parsl_streaming import connection as module
from parsl_streaming import curve
from parsl_streaming.attendant import Attendant
from parsl_streaming.connection import Connection
from parsl_streaming.connection import close_idle
from parsl_streaming.connection import join
from parsl_streaming.registry import Registry
from parsl_streaming.route import Route
from parsl_streaming.route import Ticket
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Site
from parsl_streaming.statistics import WriterStatistics
from parsl_streaming.version import VERSION


class Silent:
    """An end that only waits."""

    def hear(self, answer: Mapping[str, Any]) -> None: ...

    def look(self, now: float) -> None: ...


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / 'a.key'
    curve.KeyPair.new().save(path)
    return path


@pytest.fixture
def registry(key_file: Path) -> Iterator[Registry]:
    it = Registry(('127.0.0.1',), {'a': curve.KeyPair.load(key_file).public})
    it.add(ChannelSpec(name='c', source='a', target='a'), {})
    yield it
    close_idle(it.public_key)
    it.close()


@pytest.fixture
def ticket(registry: Registry, key_file: Path) -> Ticket:
    site = Site(name='a', key_file=str(key_file))
    route = Route(
        session='s',
        version=VERSION,
        channel=ChannelSpec(name='c', source='a', target='a'),
        source=site,
        target=site,
        architecture='memory',
        registry=registry.addresses,
        registry_key=registry.public_key,
    )
    return Ticket(route=route, role='writer', name='p', call='p')


def wait(happened: Callable[[], object]) -> None:
    limit = time.monotonic() + 5
    while not happened():
        assert time.monotonic() < limit
        time.sleep(0.005)


def is_closed(it: Connection) -> bool:
    return it._context.closed


def test_ends_of_a_site_share_a_connection(ticket: Ticket) -> None:
    first, one = join(ticket, Silent())
    threads = threading.active_count()
    second, two = join(replace(ticket, name='q'), Silent())
    assert first is second
    assert one != two
    assert threading.active_count() == threads
    for number in (one, two):
        first.remove(number)
        first.remove(number)


def test_other_keys_are_another_connection(ticket: Ticket, tmp_path: Path) -> None:
    curve.KeyPair.new().save(tmp_path / 'b.key')
    route = replace(ticket.route, source=Site(name='b', key_file=str(tmp_path / 'b.key')))
    first, one = join(ticket, Silent())
    second, two = join(replace(ticket, route=route), Silent())
    assert first is not second
    first.remove(one)
    second.remove(two)


def test_it_is_closed_when_it_was_idle(ticket: Ticket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'IDLE_SECONDS', 0.05)
    it, number = join(ticket, Silent())
    time.sleep(0.3)
    assert not is_closed(it)
    it.remove(number)
    wait(lambda: is_closed(it))
    it.send(number, {'op': 'beat'})
    another, number = join(ticket, Silent())
    assert another is not it
    another.remove(number)


def test_the_end_of_a_session_closes_it_unless_it_has_ends(ticket: Ticket) -> None:
    it, number = join(ticket, Silent())
    close_idle('of another')
    close_idle(ticket.route.registry_key)
    time.sleep(0.3)
    assert not is_closed(it)
    it.remove(number)
    close_idle(ticket.route.registry_key)
    wait(lambda: is_closed(it))
    close_idle(ticket.route.registry_key)


def test_a_connection_that_may_be_refused_gets_no_further_end(ticket: Ticket) -> None:
    it, one = join(ticket, Silent())
    it.retire()
    another, two = join(ticket, Silent())
    assert another is not it
    it.remove(one)
    it.retire()
    assert join(ticket, Silent())[0] is another
    another.remove(two)


def test_an_end_that_cannot_be_told_disturbs_no_other(
    ticket: Ticket, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Silent):
        def look(self, now: float) -> None:
            raise ValueError

    it, number = join(ticket, Broken())
    other = Attendant(ticket)
    assert other._connection is it
    other.open()
    other.leave(WriterStatistics())
    assert 'could not be told' in caplog.text
    it.remove(number)


def test_a_forked_child_has_a_connection_of_its_own(ticket: Ticket) -> None:
    parents = Attendant(ticket)
    parents.open()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            it = Attendant(replace(ticket, name='child', call='child'))
            it.open()
            it.leave(WriterStatistics())
            os._exit(0 if it._connection is not parents._connection else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    wait(lambda: [m.state for m in parents.view.members] == ['open', 'closed'])
    parents.leave(WriterStatistics())


class Cable:
    """Carries TCP connections to a port, until it is cut."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix('tcp://').rpartition(':')
        self._target = (host, int(port))
        self._listening = socket.create_server(('127.0.0.1', 0))
        self.address = f'tcp://127.0.0.1:{self._listening.getsockname()[1]}'
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, far = self._listening.accept()[0], socket.create_connection(self._target)
                self._ends += (near, far)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()


def test_every_end_comes_back_when_the_connection_was_lost(
    ticket: Ticket, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('parsl_streaming.attendant.BEAT_SECONDS', 0.05)
    cable = Cable(registry.addresses[0])
    through = replace(ticket, route=replace(ticket.route, registry=(cable.address,)))
    ends = [Attendant(replace(through, name=name, call=name)) for name in 'pq']
    for end in ends:
        end.open()
        end.attend(_Writer())
    before = set(registry._peers)
    cable.cut()
    registry.declare('c', 'reader', 'r', 'r', 'g')
    wait(lambda: len(registry._peers) == 2 and not before & set(registry._peers))
    wait(lambda: all(end.groups() == ['g'] for end in ends))
    for end in ends:
        end.leave(WriterStatistics(messages=1))
    assert [m.state for m in registry.channel('c').view.of('writer')] == ['closed', 'closed']
    close_idle(registry.public_key)
    cable.close()


class _Writer:
    def tick(self) -> bool:
        return False

    def fail(self, error: Exception) -> None:
        raise AssertionError(error)

    def statistics(self) -> WriterStatistics:
        return WriterStatistics()
