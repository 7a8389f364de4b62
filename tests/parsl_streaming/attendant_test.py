from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from parsl_streaming import attendant as module
from parsl_streaming import curve
from parsl_streaming.attendant import Attendant
from parsl_streaming.errors import NotAuthorised
from parsl_streaming.errors import ProducerFenced
from parsl_streaming.errors import RegistryUnreachable
from parsl_streaming.errors import StreamingError
from parsl_streaming.errors import UnknownChannel
from parsl_streaming.packing import Packer
from parsl_streaming.registry import Registry
from parsl_streaming.route import Route
from parsl_streaming.route import Ticket
from parsl_streaming.seam import Flag
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Site
from parsl_streaming.statistics import WriterStatistics
from parsl_streaming.version import VERSION


class End:
    """What an attendant looks after."""

    def __init__(self) -> None:
        self.ticks = 0
        self.failure: StreamingError | None = None

    def tick(self) -> bool:
        self.ticks += 1
        return True

    def fail(self, error: StreamingError) -> None:
        self.failure = error

    def statistics(self) -> WriterStatistics:
        return WriterStatistics(messages=self.ticks)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / 'a.key'
    curve.KeyPair.new().save(path)
    return path


@pytest.fixture
def registry(key_file: Path) -> Iterator[Registry]:
    it = Registry(('127.0.0.1',), {'a': curve.KeyPair.load(key_file).public})
    it.add(ChannelSpec(name='c', source='a', target='a'), {'password': 'x'})
    yield it
    it.close()


def ticket(registry: Registry, key_file: Path, channel: str = 'c', name: str = 'p') -> Ticket:
    site = Site(name='a', key_file=str(key_file))
    route = Route(
        session='s',
        version=VERSION,
        channel=ChannelSpec(name=channel, source='a', target='a'),
        source=site,
        target=site,
        architecture='memory',
        registry=registry.addresses,
        registry_key=registry.public_key,
    )
    return Ticket(route=route, role='writer', name=name, call=name)


def wait(happened: object) -> None:
    limit = time.monotonic() + 5
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_an_end_is_opened_looked_after_and_left(registry: Registry, key_file: Path) -> None:
    it = Attendant(ticket(registry, key_file))
    answer = it.open()
    assert (it.epoch, answer['secrets']) == (1, {'password': 'x'})
    end = End()
    it.attend(end)
    it.announce({'key': 'k'})
    wait(lambda: end.ticks > 2)
    wait(lambda: it.view.members and it.view.members[0].contact.get('key') == 'k')
    registry.declare('c', 'reader', 'r', 'r', 'g')
    wait(lambda: it.groups() == ['g'])
    last = Packer('p', 1, b'channel!', None).pack_end(Flag.NONE)
    it.leave(WriterStatistics(messages=7), last)
    member = registry.channel('c').find('writer', 'p')
    assert member is not None
    assert member.state == 'closed'
    assert member.contact['end'] == [last.head, last.body]
    assert registry.channel('c').statistics.writers['p#1'].messages == 7
    it.close()


def test_letters_reach_the_session(registry: Registry, key_file: Path) -> None:
    it = Attendant(ticket(registry, key_file))
    it.open()
    it.attend(End())
    letter = Packer('p', 1, b'channel!', None).pack_end(Flag.DEAD)
    it.bury(letter)
    it.leave(WriterStatistics())
    assert registry.channel('c').letters == [(letter.head, letter.body)]


def test_a_refusal_is_raised_as_what_it_is(registry: Registry, key_file: Path) -> None:
    it = Attendant(ticket(registry, key_file, channel='none'))
    with pytest.raises(UnknownChannel, match='none'):
        it.open()
    it.close()


def test_a_registry_that_does_not_answer_is_named(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it answer a key that it does not know."""
    monkeypatch.setattr(module, 'DIAL_SECONDS', 0.2)
    stranger = tmp_path / 'stranger.key'
    curve.KeyPair.new().save(stranger)
    it = Attendant(ticket(registry, stranger))
    with pytest.raises(RegistryUnreachable, match=r'tcp://127\.0\.0\.1'):
        it.open()
    it.close()


def test_a_key_file_that_is_missing_stops_it_at_once(registry: Registry, tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(NotAuthorised):
        Attendant(ticket(registry, tmp_path / 'none.key'))
    assert threading.active_count() == before


def test_a_fenced_end_is_told_and_leaves_at_once(registry: Registry, key_file: Path) -> None:
    old, new = Attendant(ticket(registry, key_file)), Attendant(ticket(registry, key_file))
    old.open()
    end = End()
    old.attend(end)
    new.open()
    wait(lambda: end.failure is not None)
    assert isinstance(end.failure, ProducerFenced)
    before = time.monotonic()
    old.leave(WriterStatistics())
    assert time.monotonic() - before < module._LEAVE_SECONDS
    new.close()


def test_a_registry_that_is_gone_keeps_nobody(
    registry: Registry, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, '_LEAVE_SECONDS', 0.2)
    it = Attendant(ticket(registry, key_file))
    it.open()
    it.attend(End())
    registry.close()
    before = time.monotonic()
    it.leave(WriterStatistics())
    assert time.monotonic() - before < module.DIAL_SECONDS


def test_an_end_may_speak_and_leave_from_its_own_tick(registry: Registry, key_file: Path) -> None:
    it = Attendant(ticket(registry, key_file))
    it.open()
    end = End()
    done = threading.Event()

    def tick() -> bool:
        if not done.is_set():
            it.announce({'key': 'from the tick'})
            it.leave(WriterStatistics())
            done.set()
        return False

    end.tick = tick  # type: ignore[method-assign]
    it.attend(end)
    it.wake()
    assert done.wait(5)
    member = registry.channel('c').find('writer', 'p')
    assert member is not None
    assert (member.state, member.contact) == ('closed', {'key': 'from the tick'})


def _forget(registry: Registry) -> None:
    """As after 15 s of silence, or on a new connection."""
    with registry._lock:
        for peer in list(registry._peers):
            registry._forget(peer)


def test_what_must_be_heard_is_told_again_to_a_registry_that_forgot(
    registry: Registry, key_file: Path
) -> None:
    it = Attendant(ticket(registry, key_file))
    it.open()
    it.attend(End())
    it.announce({'key': 'k'})
    wait(lambda: it.view.members[0].contact)
    _forget(registry)
    letter = Packer('p', 1, b'channel!', None).pack_end(Flag.DEAD)
    it.bury(letter)
    last = Packer('p', 1, b'channel!', None).pack_end(Flag.NONE)
    it.leave(WriterStatistics(messages=7), last)
    member = registry.channel('c').find('writer', 'p')
    assert member is not None
    assert member.state == 'closed'
    assert member.contact == {'key': 'k', 'end': [last.head, last.body]}
    assert registry.channel('c').letters == [(letter.head, letter.body)]
    assert registry.channel('c').statistics.writers['p#1'].messages == 7


def test_a_forgotten_end_that_beats_comes_back(
    registry: Registry, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, 'BEAT_SECONDS', 0.05)
    it = Attendant(ticket(registry, key_file))
    it.open()
    it.attend(End())
    _forget(registry)
    registry.channel('c').set_state('writer', 'p', 1, 'lost')
    wait(lambda: it.view.members[0].state == 'open')
    it.leave(WriterStatistics())


def test_a_slow_end_keeps_no_other_waiting(
    registry: Registry, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, 'BEAT_SECONDS', 0.05)
    slow, quick = (Attendant(ticket(registry, key_file, name=name)) for name in 'sq')
    stuck, go_on = End(), threading.Event()
    stuck.tick = lambda: go_on.wait(5)  # type: ignore[method-assign]
    end = End()
    for it, its in ((slow, stuck), (quick, end)):
        it.open()
        it.attend(its)
        it.wake()
    ticks = end.ticks
    wait(lambda: end.ticks > ticks + 2)
    counters = registry.channel('c').statistics.writers
    wait(lambda: {'s#1', 'q#1'} <= {*counters} and counters['q#1'].messages > ticks)
    go_on.set()
    for it in (slow, quick):
        it.leave(WriterStatistics())


def test_a_short_end_needs_no_thread(registry: Registry, key_file: Path) -> None:
    it = Attendant(ticket(registry, key_file))
    it.open()
    before = threading.active_count()
    it.attend(End())
    assert threading.active_count() == before
    it.leave(WriterStatistics())
