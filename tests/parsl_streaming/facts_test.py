from __future__ import annotations

from parsl_streaming.facts import FACTS
from parsl_streaming.facts import facts_of
from parsl_streaming.facts import key_of
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Durability
from parsl_streaming.spec import Site

CHANNEL = ChannelSpec(name='frames', source='a', target='b', durability=Durability.DISK)


def test_facts() -> None:
    found = facts_of(CHANNEL, Site(name='a', network='x'), Site(name='b', inbound=True))
    assert found == {
        'same_network': False,
        'producer_inbound': False,
        'consumer_inbound': True,
        'producer_site': 'a',
        'consumer_site': 'b',
        'producer_network': 'x',
        'consumer_network': 'local',
        'channel': 'frames',
        'durability': 'disk',
        'pattern': 'work-sharing',
        'replay': False,
        'readers': None,
        'writers': None,
        'partitions': 1,
        'sealed': True,
        'pickle': False,
        'on_full': 'block',
        'max_message_bytes': 256 << 20,
    }


def test_facts_have_the_kind_that_they_state() -> None:
    found = facts_of(CHANNEL, Site(name='a'), Site(name='b'))
    declared = {name: value for name, value in found.items() if value is not None}
    assert {name: type(value) for name, value in declared.items()} == {
        name: FACTS[name].kind for name in declared
    }


def test_keys_name_the_site_or_the_channel() -> None:
    assert key_of('consumer_inbound', CHANNEL) == 'sites.b.inbound'
    assert key_of('max_message_bytes', CHANNEL) == 'channels.frames.max_message'
    assert key_of('channel', CHANNEL) == ''
