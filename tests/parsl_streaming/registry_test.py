from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import zmq

from parsl_streaming import curve
from parsl_streaming import registry as module
from parsl_streaming.errors import ProducerNameTaken
from parsl_streaming.errors import UnknownChannel
from parsl_streaming.registry import Registry
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.statistics import WriterStatistics
from parsl_streaming.statistics import as_dict
from parsl_streaming.version import VERSION

KEYS = {site: curve.KeyPair.new() for site in ('a', 'b', 'submit')}
STRANGER = curve.KeyPair.new()


class Dialler:
    """A connection that speaks to the registry by hand, for its end of number 1 unless told."""

    def __init__(self, registry: Registry, keys: curve.KeyPair) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.linger = 0
        curve.make_client(self.socket, keys, registry.public_key)
        self.socket.connect(registry.addresses[0])

    def tell(self, op: str, number: bytes = b'1', **fields: Any) -> None:
        self.socket.send_multipart([number, msgpack.packb({'op': op, **fields})])

    def hear_frames(self, timeout: float = 5.0) -> tuple[bytes, dict[str, Any]] | None:
        """Which end an answer is for, and the answer."""
        if not self.socket.poll(int(timeout * 1000)):
            return None
        end, frame = self.socket.recv_multipart()
        return end, msgpack.unpackb(frame, strict_map_key=False)

    def hear(self, timeout: float = 5.0) -> dict[str, Any] | None:
        heard = self.hear_frames(timeout)
        return heard[1] if heard else None

    def hear_of(self, key: str) -> Any:
        """The next answer that holds this."""
        for _ in range(20):
            answer = self.hear()
            assert answer is not None, f'no {key}'
            if key in answer:
                return answer[key]
        raise AssertionError(key)

    def open(self, role: str, name: str, number: bytes = b'1', **fields: Any) -> dict[str, Any]:
        place = {'channel': 'c', 'role': role, 'name': name, 'group': '', 'call': name}
        self.tell('open', number, **({'version': VERSION} | place | fields))
        answer = self.hear()
        assert answer is not None
        return answer

    def close(self) -> None:
        self.socket.close()
        self._context.term()


Dial = Callable[[str], Dialler]


@pytest.fixture
def registry() -> Iterator[Registry]:
    it = Registry(('127.0.0.1',), {site: pair.public for site, pair in KEYS.items()})
    it.add(ChannelSpec(name='c', source='a', target='b'), {'password': 'x'})
    yield it
    it.close()
    it.close()


@pytest.fixture
def dial(registry: Registry) -> Iterator[Dial]:
    made: list[Dialler] = []

    def make(site: str) -> Dialler:
        made.append(Dialler(registry, KEYS.get(site, STRANGER)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_an_end_gets_its_epoch_secrets_and_view(dial: Dial, registry: Registry) -> None:
    answer = dial('a').open('writer', 'p')
    assert answer['epoch'] == 1
    assert answer['secret'] == registry.channel('c').secret
    assert len(answer['secret']) == 32
    assert answer['secrets'] == {'password': 'x'}
    assert answer['channel'] == 'c'
    assert answer['view'][2][0][:3] == ['p', 'writer', 1]


def test_every_end_hears_of_every_change(dial: Dial, registry: Registry) -> None:
    writer, reader = dial('a'), dial('b')
    writer.open('writer', 'p')
    reader.open('reader', 'r', group='g')
    assert [m[0] for m in writer.hear_of('view')[2]] == ['r']
    reader.tell('announce', contact={'key': 'k', 'addresses': [['127.0.0.1', 1, 2]]})
    assert writer.hear_of('view')[2][0][5]['key'] == 'k'
    registry.declare('c', 'reader', 'late', 'call', 'g')
    assert [m[0] for m in writer.hear_of('view')[2]] == ['late']
    registry.fail('c', 'reader', 'late', 'gone')
    assert writer.hear_of('view')[2][0][4] == 'failed'


def test_a_connection_hears_of_a_change_once_for_all_its_ends(
    dial: Dial, registry: Registry
) -> None:
    site = dial('a')
    for number, name in ((b'1', 'p'), (b'2', 'q')):
        site.open('writer', name, number)
    registry.declare('c', 'reader', 'r', 'call', 'g')
    heard = site.hear_frames()
    assert heard is not None
    assert heard[0] == b''
    assert heard[1]['channel'] == 'c'
    assert [m[0] for m in heard[1]['view'][2]] == ['r']
    site.tell('leave', b'1')
    assert site.hear_frames() == (b'1', {'left': True})
    assert site.hear_of('view')[2][0][:5] == ['p', 'writer', 1, '', 'closed']


def test_an_end_of_a_known_connection_hears_what_is_new_only(dial: Dial) -> None:
    site = dial('a')
    first = site.open('writer', 'p', b'1')['view']
    second = site.open('writer', 'q', b'2')['view']
    assert first[0] == 0
    assert second[0] == first[1]
    assert [m[0] for m in second[2]] == ['q']


def test_one_end_of_a_connection_is_lost_and_the_other_is_not(
    dial: Dial, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = dial('a')
    for number, name in ((b'1', 'silent'), (b'2', 'loud')):
        site.open('writer', name, number)
    monkeypatch.setattr(module, 'SILENCE_SECONDS', 0.5)
    limit = time.monotonic() + 5
    state = 'open'
    while state == 'open' and time.monotonic() < limit:
        site.tell('beat', b'2')
        member = registry.channel('c').find('writer', 'silent')
        state = member.state if member else ''
        time.sleep(0.05)
    loud = registry.channel('c').find('writer', 'loud')
    assert state == 'lost'
    assert loud is not None
    assert loud.state == 'open'


def test_a_newer_epoch_fences_the_older(dial: Dial) -> None:
    old, new = dial('a'), dial('a')
    old.open('writer', 'p')
    assert new.open('writer', 'p')['epoch'] == 2
    assert old.hear_of('fenced')
    old.tell('beat')
    assert old.hear_of('unknown')
    place = {'channel': 'c', 'role': 'writer', 'name': 'p', 'group': '', 'contact': {}}
    old.tell('rejoin', epoch=1, **place)
    assert old.hear_of('fenced')


def test_an_end_that_was_forgotten_rejoins(dial: Dial, registry: Registry) -> None:
    reader = dial('b')
    reader.tell('beat')
    assert reader.hear_of('unknown')
    place = {'channel': 'c', 'role': 'reader', 'name': 'r', 'group': 'g'}
    reader.tell('rejoin', epoch=3, contact={'key': 'k'}, **place)
    assert reader.hear_of('view')[2] == [['r', 'reader', 3, 'g', 'open', {'key': 'k'}]]


def test_an_end_that_came_back_is_not_lost_with_its_former_connection(
    dial: Dial, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = dial('a'), dial('a')
    before.open('writer', 'p')
    after.tell('rejoin', channel='c', role='writer', name='p', group='', epoch=1, contact={})
    assert after.hear_of('rejoined')
    monkeypatch.setattr(module, 'SILENCE_SECONDS', 0.3)
    limit = time.monotonic() + 1
    while time.monotonic() < limit:
        after.tell('beat')
        registry.declare('c', 'writer', 'p', 'p', '')
        time.sleep(0.05)
    member = registry.channel('c').find('writer', 'p')
    assert member is not None
    assert member.state == 'open'


def test_leaving_leaves_the_end_and_the_statistics(dial: Dial, registry: Registry) -> None:
    writer = dial('a')
    writer.open('writer', 'p')
    counters = as_dict(WriterStatistics(messages=7))
    writer.tell('leave', statistics=counters, end=[b'head', b'body'])
    assert writer.hear_of('left')
    member = registry.channel('c').find('writer', 'p')
    assert member is not None
    assert (member.state, member.contact['end']) == ('closed', [b'head', b'body'])
    assert registry.channel('c').statistics.writers['p#1'].messages == 7


def test_letters_are_kept(dial: Dial, registry: Registry) -> None:
    reader = dial('b')
    reader.open('reader', 'r')
    reader.tell('bury', letter=[b'head', b'body'])
    assert reader.hear_of('kept')
    reader.tell('leave')
    assert reader.hear_of('left')
    assert registry.channel('c').letters == [(b'head', b'body')]


def test_a_silent_end_is_lost(
    dial: Dial, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = dial('b')
    reader.open('reader', 'r')
    monkeypatch.setattr(module, 'SILENCE_SECONDS', 0.0)
    limit = time.monotonic() + 5
    state = 'open'
    while state == 'open' and time.monotonic() < limit:
        registry.declare('c', 'reader', 'r', 'r', '')
        member = registry.channel('c').find('reader', 'r')
        state = member.state if member else ''
        time.sleep(0.01)
    assert state == 'lost'


@pytest.mark.parametrize(
    ('site', 'role', 'allowed'),
    [
        ('a', 'writer', True),
        ('a', 'reader', False),
        ('b', 'reader', True),
        ('b', 'writer', False),
        ('submit', 'writer', True),
        ('submit', 'reader', True),
    ],
)
def test_a_site_opens_its_own_role_only(dial: Dial, site: str, role: str, *, allowed: bool) -> None:
    answer = dial(site).open(role, 'x')
    assert ('epoch' in answer) == allowed
    assert allowed or answer['error'][0] == 'NotAuthorised'
    assert allowed or 'secret' not in answer


def test_a_stranger_hears_nothing(dial: Dial) -> None:
    stranger = dial('nowhere')
    stranger.tell('beat')
    assert stranger.hear(0.2) is None


@pytest.mark.parametrize(
    ('fields', 'error'),
    [
        ({'version': '0'}, 'VersionMismatch'),
        ({'channel': 'none'}, 'UnknownChannel'),
        ({'role': 'writer', 'name': 'taken', 'call': 'other'}, 'ProducerNameTaken'),
    ],
)
def test_refusals_say_which(
    dial: Dial, registry: Registry, fields: dict[str, str], error: str
) -> None:
    registry.declare('c', 'writer', 'taken', 'call', '')
    answer = dial('a').open(**({'role': 'writer', 'name': 'p'} | fields))
    assert answer['error'][0] == error


@pytest.mark.parametrize(
    'data', [b'', b'\xc1', b'garbage', msgpack.packb(7), msgpack.packb({}), b'\xdf\xff\xff\xff\xff']
)
def test_garbage_stops_nothing(dial: Dial, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    vandal, writer = dial('b'), dial('a')
    vandal.socket.send_multipart([b'1', data])
    assert vandal.hear_of('error')[0] == 'StreamingError'
    assert writer.open('writer', 'p')['epoch'] == 1
    assert 'could not be handled' in caplog.text


def test_a_message_of_several_frames_stops_nothing(dial: Dial) -> None:
    vandal, writer = dial('b'), dial('a')
    vandal.socket.send_multipart([b'one', b'two', b'three'])
    vandal.socket.send_multipart([b'', b''])
    vandal.socket.send(b'')
    assert writer.open('writer', 'p')['epoch'] == 1


def test_the_registry_refuses_to_declare_wrongly(registry: Registry) -> None:
    registry.declare('c', 'writer', 'p', 'one', '')
    with pytest.raises(ProducerNameTaken):
        registry.declare('c', 'writer', 'p', 'two', '')
    with pytest.raises(UnknownChannel, match='none'):
        registry.declare('none', 'writer', 'p', 'one', '')


def test_an_unsealed_channel_has_no_secret(registry: Registry) -> None:
    registry.add(ChannelSpec(name='open', source='a', target='b', sealed=False), {})
    assert registry.channel('open').secret is None
