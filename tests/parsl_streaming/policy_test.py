from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_streaming import architectures
from parsl_streaming.architectures import Catalogue
from parsl_streaming.errors import ConfigError
from parsl_streaming.errors import NoRoute
from parsl_streaming.policy import Check
from parsl_streaming.policy import Rule
from parsl_streaming.policy import Span
from parsl_streaming.policy import choose
from parsl_streaming.policy import evaluate
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Durability
from parsl_streaming.spec import Pattern
from parsl_streaming.spec import Site
from parsl_streaming.testing.memory import MemoryStreaming

SOURCE = Site(name='a', network='x')
TARGET = Site(name='b', network='y')
PLAIN = ChannelSpec(name='frames', source='a', target='b')


class Fast(MemoryStreaming):
    patterns = frozenset({Pattern.WORK_SHARING})

    def refuse(self, channel: ChannelSpec, source: Site, target: Site) -> str | None:
        return None if target.inbound else f'{target.name} is closed'


class Safe(MemoryStreaming):
    durabilities = frozenset(Durability)
    can_replay = True


@pytest.fixture(autouse=True)
def fakes() -> Iterator[None]:
    architectures.register('fast', Fast)
    architectures.register('safe', Safe)
    yield
    architectures.unregister('fast')
    architectures.unregister('safe')


def channel(**changes: object) -> ChannelSpec:
    return ChannelSpec(name='frames', source='a', target='b', **changes)  # type: ignore[arg-type]


FAST = Rule('first', 'fast')
SAFE = Rule('second', 'safe')
OPEN = Site(name='b', network='y', inbound=True)


def test_the_first_match_wins_and_the_others_follow() -> None:
    decision = choose(PLAIN, SOURCE, OPEN, [FAST, SAFE, Rule('again', 'fast')], Catalogue())
    assert decision.chosen == 'fast'
    assert decision.candidates == ('fast', 'safe')
    assert decision.fallbacks == ('safe',)
    assert [verdict.rule.name for verdict in decision.winners] == ['first', 'second']


def test_a_rule_that_does_not_match_is_kept_with_its_reason() -> None:
    never = Rule('never', 'fast', {'readers': Span(min=2), 'replay': False})
    decision = choose(PLAIN, SOURCE, OPEN, [never, SAFE], Catalogue())
    assert decision.chosen == 'safe'
    verdict = decision.verdicts[0]
    assert not verdict.matched
    assert verdict.refusal is None
    assert [check.fact for check in verdict.checks] == ['readers', 'replay']
    assert [check.change for check in verdict.failed] == [
        'readers is not declared, needs at least 2 (channels.frames.readers)'
    ]


def test_what_refuses_is_passed_over() -> None:
    decision = choose(PLAIN, SOURCE, TARGET, [FAST, SAFE], Catalogue())
    assert decision.candidates == ('safe',)
    refusal = decision.verdicts[0].refusal
    assert str(refusal) == 'b is closed'
    assert decision.verdicts[0].matched
    assert not decision.verdicts[0].eligible


def test_what_is_not_installed_is_passed_over() -> None:
    decision = choose(PLAIN, SOURCE, OPEN, [Rule('far', 'nowhere'), FAST], Catalogue())
    assert decision.candidates == ('fast',)
    assert '"nowhere" is not installed' in str(decision.verdicts[0].refusal)


@pytest.mark.parametrize(
    ('spec', 'wanted'),
    [
        (
            channel(durability=Durability.DISK),
            'it does not give durability "disk"; declare channels.frames.durability = "none"',
        ),
        (
            channel(pattern=Pattern.GATHER),
            'it does not carry pattern "gather"; declare channels.frames.pattern = "work-sharing"',
        ),
        (channel(replay=True), 'it cannot replay; declare channels.frames.replay = false'),
    ],
)
def test_guarantees_are_never_weakened(spec: ChannelSpec, wanted: str) -> None:
    decision = choose(spec, SOURCE, OPEN, [FAST, SAFE], Catalogue())
    assert decision.chosen == 'safe'
    assert str(decision.verdicts[0].refusal) == wanted


def test_no_route_lists_every_obstacle() -> None:
    rules = [FAST, Rule('far', 'nowhere'), Rule('wide', 'safe', {'replay': True})]
    with pytest.raises(NoRoute) as caught:
        choose(PLAIN, SOURCE, TARGET, rules, Catalogue())
    head, *lines = str(caught.value).splitlines()
    assert head == 'no route for channel "frames" from "a" to "b":'
    assert lines[0] == '  rule first, fast: b is closed'
    assert lines[1].startswith('  rule far, nowhere: architecture "nowhere" is not installed')
    assert lines[2] == ('  rule wide, safe: replay is false, needs true (channels.frames.replay)')


def test_evaluate_does_not_mind_that_there_is_no_route() -> None:
    decision = evaluate(PLAIN, SOURCE, TARGET, [FAST], Catalogue())
    assert decision.chosen is None
    assert decision.fallbacks == ()


def test_a_pin_skips_the_rules() -> None:
    decision = choose(channel(architecture='safe'), SOURCE, OPEN, [FAST], Catalogue())
    assert decision.pinned
    assert decision.candidates == ('safe',)
    assert 'channels.frames.architecture = "safe"' in decision.winners[0].rule.because


@pytest.mark.parametrize(
    ('spec', 'wanted'),
    [
        (channel(architecture='nowhere'), 'is not installed'),
        (channel(architecture='fast', durability=Durability.DISK), 'durability "disk"'),
    ],
)
def test_a_pin_that_is_a_mistake(spec: ChannelSpec, wanted: str) -> None:
    with pytest.raises(ConfigError, match=wanted):
        choose(spec, SOURCE, OPEN, [SAFE], Catalogue())


def test_a_pin_that_the_network_forbids() -> None:
    with pytest.raises(NoRoute, match='rule pinned, fast: b is closed'):
        choose(channel(architecture='fast'), SOURCE, TARGET, [SAFE], Catalogue())


@pytest.mark.parametrize(
    ('value', 'wanted', 'holds'),
    [
        ('disk', 'disk', True),
        ('disk', 'none', False),
        ('disk', ('memory', 'disk'), True),
        ('none', ('memory', 'disk'), False),
        (True, True, True),
        (True, 1, False),
        (1, True, False),
        (1, 1, True),
        (True, Span(min=0), False),
        ('3', Span(min=0), False),
        (3, Span(min=3, max=3), True),
        (3, Span(max=2), False),
        (None, False, False),
        (None, Span(), False),
        (None, (1, 2), False),
    ],
)
def test_conditions(value: str | float | None, wanted: Span | str | float, *, holds: bool) -> None:
    assert Check('fact', value, wanted, 'key').holds is holds


@given(st.integers(), st.none() | st.integers(), st.none() | st.integers())
def test_a_span_holds_its_limits(value: int, least: int | None, most: int | None) -> None:
    holds = Check('fact', value, Span(least, most), 'key').holds
    below = least is not None and value < least
    above = most is not None and value > most
    assert holds == (not below and not above)


@pytest.mark.parametrize(
    ('value', 'wanted', 'text'),
    [
        (True, False, 'fact is true, needs false (key)'),
        ('a', ('b', 'c'), 'fact is "a", needs "b" or "c" (key)'),
        (2048, Span(min=1, max=1024), 'fact is 2,048, needs at least 1 and at most 1,024 (key)'),
        (None, 7, 'fact is not declared, needs 7 (key)'),
    ],
)
def test_changes_read_well(value: str | float | None, wanted: Span | str, text: str) -> None:
    assert Check('fact', value, wanted, 'key').change == text


def test_a_fact_without_key_has_no_place() -> None:
    assert Check('channel', 'a', 'b', '').change == 'channel is "a", needs "b"'
