from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from parsl_streaming import architectures
from parsl_streaming.architectures import Catalogue
from parsl_streaming.config import load_config
from parsl_streaming.errors import UnknownChannel
from parsl_streaming.explain import WIDTH
from parsl_streaming.explain import Explanation
from parsl_streaming.explain import changes
from parsl_streaming.explain import explain
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Durability
from parsl_streaming.spec import Site
from parsl_streaming.testing.memory import MemoryStreaming


class Direct(MemoryStreaming):
    def refuse(self, channel: ChannelSpec, source: Site, target: Site) -> str | None:
        reachable = target.inbound or source.network == target.network
        return None if reachable else f'site {target.name} accepts no connections'


class Managed(MemoryStreaming):
    durabilities = frozenset(Durability)
    can_replay = True
    closed = 0

    def __init__(self, *, url: str = '') -> None:
        self.url = url

    def close(self) -> None:
        Managed.closed += 1


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only these two are installed, whatever this machine has."""
    monkeypatch.setattr(architectures, '_entry_points', dict)
    monkeypatch.setattr(architectures, '_in_memory', {'dts': Direct, 'mss': Managed})
    monkeypatch.setattr(Managed, 'closed', 0)
    return


def explained(channel: str | None = None, **keys: Any) -> Explanation:
    config = load_config(
        {
            'sites': {
                'instrument': {'network': 'beamline'},
                'hpc': {'network': 'hpc', 'inbound': True},
            },
            'channels': {
                'frames': {'from': 'instrument', 'to': 'hpc'} | keys,
                'peaks': {'from': 'hpc', 'to': 'submit'},
            },
            'architectures': {'mss': {'url': 'rediss://hidden.example'}},
        }
    )
    return explain(config, channel)


def test_text_says_what_and_why() -> None:
    text = explained('frames').text()
    wanted = (
        'channel frames: instrument to hpc, work-sharing\n  architecture: dts, by rule inbound\n',
        'if it cannot be opened: mss',
        '1. durable: use mss - does not match\n       fails: durability is "none", needs',
        'inbound: use dts - matches, chosen',
        'holds: consumer_inbound is true, needs true',
        'two-facilities: use prs - matches, but is refused',
        'refused: architecture "prs" is not installed; installed: "dts", "mss"',
        'outbound-only: use mss - matches\n',
        'mss: channels.frames.architecture = "mss" pins it',
        'mss: rule replay: replay is false, needs true (channels.frames.replay)',
    )
    assert [each for each in wanted if each not in text] == []


def test_text_fits_the_width() -> None:
    lines = explained().text().splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert sum(line.startswith('channel ') for line in lines) == 2


def test_options_are_not_shown() -> None:
    explanation = explained()
    assert 'hidden' not in explanation.text()
    assert 'hidden' not in json.dumps(explanation.as_dict())


def test_dict_is_json() -> None:
    found = json.loads(json.dumps(explained('frames').as_dict()))
    assert found['installed'] == ['dts', 'mss']
    (channel,) = found['channels']
    assert channel['architecture'] == 'dts'
    assert channel['rule'] == 'inbound'
    assert channel['fallbacks'] == ['mss']
    assert channel['pinned'] is False
    assert channel['rules'][0]['facts'] == [
        {'fact': 'durability', 'value': 'none', 'needs': '"memory" or "disk"', 'holds': False}
    ]
    assert set(channel['changes']) == {'mss', 'prs'}


def test_no_route_is_explained() -> None:
    explanation = explained('frames', architecture='dts', durability='disk')
    assert not explanation.routed
    text = explanation.text()
    assert 'no route: no architecture may carry this channel' in text
    assert '1. pinned: use dts - matches, but is refused' in text
    assert 'declare channels.frames.durability = "none"' in text
    (channel,) = explanation.as_dict()['channels']
    assert channel['architecture'] is None
    assert channel['rule'] is None


def test_a_pin_names_the_alternatives() -> None:
    (decision,) = explained('frames', architecture='mss').decisions
    assert changes(decision, ('dts', 'mss')) == {
        'dts': ['channels.frames.architecture = "dts" pins it, if it can carry the channel']
    }


def test_a_lonely_pin_has_no_alternatives() -> None:
    (decision,) = explained('frames', architecture='mss').decisions
    assert 'for another architecture' not in Explanation((decision,), ('mss',)).text()


def test_every_channel_by_default() -> None:
    explanation = explained()
    assert [decision.channel.name for decision in explanation.decisions] == ['frames', 'peaks']
    assert [decision.chosen for decision in explanation.decisions] == ['dts', 'mss']
    assert explanation.routed


def test_unknown_channel() -> None:
    with pytest.raises(UnknownChannel, match='did you mean "frames"'):
        explained('frame')


def test_no_channel() -> None:
    assert explain(load_config({})).text() == 'no channel is configured'


def test_own_architectures_are_closed_and_borrowed_ones_not() -> None:
    explained()
    assert Managed.closed == 1
    config = load_config({'channels': {'c': {'from': 'submit', 'to': 'submit'}}})
    borrowed = Catalogue()
    explain(config, catalogue=borrowed)
    assert Managed.closed == 1
    borrowed.close()
    assert Managed.closed == 2
