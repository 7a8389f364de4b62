"""The built-in rules, tried after those of `streaming.toml`; the first that matches wins.

They follow the criteria by which cross-facility streaming architectures are compared: what
is stored, how many hops there are, who has to open ports, and how it scales with readers.
"""

from __future__ import annotations

from typing import Final

from parsl_streaming.policy import Rule
from parsl_streaming.policy import Span

MANY_READERS: Final = 16
"""Readers from which direct links through a firewall are more trouble than a broker's hop."""

BUILT_IN: Final = (
    Rule(
        'durable',
        'mss',
        {'durability': ('memory', 'disk')},
        'What must survive its producer has to be stored by a service of its own: a broker.',
    ),
    Rule(
        'replay',
        'mss',
        {'replay': True},
        'Readers that start at an earlier offset need a stored log, which a broker keeps.',
    ),
    Rule(
        'one-network',
        'dts',
        {'same_network': True},
        'Within one trust domain a direct link has the fewest hops, hence the highest '
        'throughput and the lowest latency.',
    ),
    Rule(
        'many-readers',
        'mss',
        {'same_network': False, 'readers': Span(min=MANY_READERS)},
        'Direct links through a firewall scale badly with the number of readers, in ports and '
        'in firewall rules; a managed service scales to many.',
    ),
    Rule(
        'inbound',
        'dts',
        {'same_network': False, 'consumer_inbound': True},
        "The consumers' site accepts connections from other networks, so a direct link works "
        'without a hop between.',
    ),
    Rule(
        'two-facilities',
        'prs',
        {'same_network': False},
        'Two facilities with firewalls or NAT are joined by a pair of gateways, in most cases '
        'as fast as a direct link, with one proxy at each.',
    ),
    Rule(
        'outbound-only',
        'mss',
        {},
        'A broker needs outbound connections only, from both sides: the easiest to deploy, at '
        "the price of the broker's overhead.",
    ),
)
"""The rules of the policy, in the order of their precedence."""
