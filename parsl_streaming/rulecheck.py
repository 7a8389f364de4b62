"""Reading the rules of a configuration (`[[policy]]`)."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from typing import Any

from parsl_streaming.configcheck import Problems
from parsl_streaming.configcheck import Reader
from parsl_streaming.configcheck import count
from parsl_streaming.configcheck import flag
from parsl_streaming.configcheck import list_of
from parsl_streaming.configcheck import one_of
from parsl_streaming.configcheck import show
from parsl_streaming.configcheck import size
from parsl_streaming.configcheck import text
from parsl_streaming.facts import FACTS
from parsl_streaming.facts import Fact
from parsl_streaming.policy import Rule
from parsl_streaming.policy import Span
from parsl_streaming.rules import BUILT_IN


def read_rules(
    problems: Problems,
    value: object,
    architectures: Collection[str],
    channels: Collection[str],
    sites: Collection[str],
    networks: Collection[str],
) -> tuple[Rule, ...]:
    """Read the user's rules and add the built-in ones.

    Args:
        problems: Takes the mistakes.
        value: What the configuration says: a list of tables.
        architectures: Names of the known architectures.
        channels: Names of the channels.
        sites: Names of the sites.
        networks: Names of the sites' networks.
    """
    if not isinstance(value, list | tuple):
        problems.add('policy', f'found {show(value)}; allowed: a list of tables, [[policy]]')
        return BUILT_IN
    named = {
        'channel': channels,
        'producer_site': sites,
        'consumer_site': sites,
        'producer_network': networks,
        'consumer_network': networks,
    }
    facts = {name: _condition(name, fact, named.get(name)) for name, fact in FACTS.items()}
    schema: Mapping[str, Reader] = {
        'name': text,
        'use': one_of(architectures),
        'when': lambda table: table,
        'because': text,
    }
    rules: list[Rule] = []
    for index, table in enumerate(value):
        path = f'policy[{index}]'
        found = problems.read(path, table, schema, required=('name', 'use'))
        when = problems.read(f'{path}.when', found.get('when', {}), facts)
        because = found.get('because', f'A rule of {problems.origin}.')
        rule = Rule(found.get('name', ''), found.get('use', ''), when, because)
        _check_name(problems, f'{path}.name', rule.name, [*rules, *BUILT_IN])
        rules.append(rule)
    return (*rules, *BUILT_IN)


def _check_name(problems: Problems, path: str, name: str, others: Collection[Rule]) -> None:
    if name and name in {rule.name for rule in others}:
        problems.add(path, f'found {show(name)}; allowed: a name that no other rule has')


def _condition(name: str, fact: Fact, known: Collection[str] | None) -> Reader:
    """Make the reader of a condition on one fact: a scalar, a list or a span."""
    scalar = _scalar(name, fact, known)
    options = list_of(scalar)

    def read(value: object) -> Any:
        if isinstance(value, list | tuple):
            return options(value)
        if isinstance(value, Mapping):
            return _span(value, fact, scalar)
        return scalar(value)

    return read


def _scalar(name: str, fact: Fact, known: Collection[str] | None) -> Reader:
    if fact.kind is bool:
        return flag
    if fact.kind is int:
        return size() if name.endswith('_bytes') else count()
    return one_of(known if known is not None else fact.allowed)


def _span(value: Mapping[str, object], fact: Fact, scalar: Reader) -> Span:
    if fact.kind is not int or not value or not value.keys() <= {'min', 'max'}:
        numbers = ', or { min = ..., max = ... }' if fact.kind is int else ''
        msg = f'a value, a list of values{numbers}'
        raise ValueError(msg)
    limits = {key: scalar(limit) for key, limit in value.items()}
    if limits.get('min', 0) > limits.get('max', float('inf')):
        msg = 'a min that is not above max'
        raise ValueError(msg)
    return Span(**limits)
