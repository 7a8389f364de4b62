from __future__ import annotations

from typing import Any

import pytest

from parsl_streaming.configcheck import Problems
from parsl_streaming.policy import Rule
from parsl_streaming.policy import Span
from parsl_streaming.rulecheck import read_rules
from parsl_streaming.rules import BUILT_IN


def read(value: object) -> tuple[tuple[Rule, ...], str]:
    problems = Problems('f')
    rules = read_rules(
        problems,
        value,
        architectures=['dts', 'mss'],
        channels=['frames'],
        sites=['hpc'],
        networks=['lab'],
    )
    return rules, '\n'.join(problems.lines)


def rule(**when: Any) -> list[dict[str, Any]]:
    return [{'name': 'mine', 'use': 'mss', 'when': when}]


def test_user_rules_come_first() -> None:
    rules, problems = read([{'name': 'mine', 'use': 'dts', 'because': 'It is fast.'}])
    assert problems == ''
    assert rules == (Rule('mine', 'dts', {}, 'It is fast.'), *BUILT_IN)


def test_a_reason_is_made_up_from_the_file() -> None:
    assert read(rule())[0][0].because == 'A rule of f.'


def test_conditions() -> None:
    rules, problems = read(
        rule(
            durability=['memory', 'disk'],
            pattern='shuffle',
            replay=False,
            readers={'min': 2},
            writers=[1, 2],
            max_message_bytes={'min': '1 KiB', 'max': '1 MiB'},
            channel='frames',
            consumer_site='hpc',
            producer_network='lab',
        )
    )
    assert problems == ''
    assert rules[0].when == {
        'durability': ('memory', 'disk'),
        'pattern': 'shuffle',
        'replay': False,
        'readers': Span(min=2),
        'writers': (1, 2),
        'max_message_bytes': Span(min=1024, max=1 << 20),
        'channel': 'frames',
        'consumer_site': 'hpc',
        'producer_network': 'lab',
    }


@pytest.mark.parametrize(
    ('value', 'wanted'),
    [
        (5, 'policy: found 5; allowed: a list of tables'),
        ({'name': 'mine'}, 'allowed: a list of tables'),
        ([5], 'policy[0]: found 5; allowed: a table'),
        ([{'use': 'mss'}], 'policy[0].name: missing'),
        ([{'name': 'mine'}], 'policy[0].use: missing'),
        ([{'name': 'mine', 'use': 'mms'}], 'did you mean "mss"?'),
        ([{'name': 'mine', 'use': 'mss', 'wen': {}}], 'did you mean "when"?'),
        ([{'name': 'mine', 'use': 'mss', 'when': 5}], 'policy[0].when: found 5'),
        ([{'name': 'replay', 'use': 'mss'}], 'a name that no other rule has'),
        ([*rule(), *rule()], 'policy[1].name: found "mine"'),
        (rule(reeders=2), 'policy[0].when.reeders: unknown key'),
        (rule(reeders=2), 'did you mean "readers"?'),
        (rule(readers='2'), 'policy[0].when.readers: found "2"'),
        (rule(readers=True), 'a whole number'),
        (rule(readers={}), '{ min = ..., max = ... }'),
        (rule(readers={'least': 2}), '{ min = ..., max = ... }'),
        (rule(readers={'min': 3, 'max': 2}), 'a min that is not above max'),
        (rule(replay={'min': 1}), 'allowed: a value, a list of values'),
        (rule(replay=1), 'true or false'),
        (rule(pattern=[]), 'a list that is not empty'),
        (rule(pattern=['shufle']), '"shuffle"'),
        (rule(channel='frame'), 'did you mean "frames"?'),
        (rule(producer_network='labs'), 'did you mean "lab"?'),
        (rule(max_message_bytes='1 mib'), '64 MiB'),
    ],
)
def test_mistakes(value: object, wanted: str) -> None:
    rules, problems = read(value)
    assert wanted in problems
    assert rules[-len(BUILT_IN) :] == BUILT_IN
