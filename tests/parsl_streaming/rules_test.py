from __future__ import annotations

from typing import Any

import pytest

from parsl_streaming.architectures import Catalogue
from parsl_streaming.facts import FACTS
from parsl_streaming.policy import Decision
from parsl_streaming.policy import evaluate
from parsl_streaming.rules import BUILT_IN
from parsl_streaming.rules import MANY_READERS
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Durability
from parsl_streaming.spec import Site
from parsl_streaming.testing.memory import MemoryStreaming


class Direct(MemoryStreaming):
    pass


class Managed(MemoryStreaming):
    durabilities = frozenset(Durability)
    can_replay = True


class Fakes(Catalogue):
    """Two architectures are installed, a third is not, whatever this machine has."""

    def __init__(self) -> None:
        super().__init__()
        self._made = {'dts': Direct(), 'mss': Managed()}


def decide(*, network: str = 'hpc', inbound: bool = False, **keys: Any) -> Decision:
    channel = ChannelSpec(name='frames', source='a', target='b', **keys)
    source = Site(name='a', network='beamline')
    target = Site(name='b', network=network, inbound=inbound)
    return evaluate(channel, source, target, BUILT_IN, Fakes())


@pytest.mark.parametrize(
    ('facts', 'rule', 'candidates'),
    [
        ({'durability': Durability.MEMORY}, 'durable', ('mss',)),
        ({'durability': Durability.DISK, 'network': 'beamline'}, 'durable', ('mss',)),
        ({'replay': True, 'inbound': True}, 'replay', ('mss',)),
        ({'network': 'beamline'}, 'one-network', ('dts', 'mss')),
        ({'network': 'beamline', 'readers': 64}, 'one-network', ('dts', 'mss')),
        ({'inbound': True}, 'inbound', ('dts', 'mss')),
        ({'inbound': True, 'readers': MANY_READERS}, 'many-readers', ('mss', 'dts')),
        ({}, 'outbound-only', ('mss',)),
    ],
)
def test_choices(facts: dict[str, Any], rule: str, candidates: tuple[str, ...]) -> None:
    decision = decide(**facts)
    assert decision.winners[0].rule.name == rule
    assert decision.candidates == candidates


def test_gateways_are_reported_as_not_installed() -> None:
    verdicts = {verdict.rule.name: verdict for verdict in decide().verdicts}
    assert verdicts['two-facilities'].matched
    assert 'is not installed' in str(verdicts['two-facilities'].refusal)


def test_rules_are_well_formed() -> None:
    names = [rule.name for rule in BUILT_IN]
    assert len(set(names)) == len(names)
    assert all(rule.because.endswith('.') for rule in BUILT_IN)
    assert {fact for rule in BUILT_IN for fact in rule.when} <= FACTS.keys()


def test_the_last_rule_always_matches() -> None:
    assert BUILT_IN[-1].when == {}
