"""The facts of a channel: the plain values that the policy's rules look at."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Durability
from parsl_streaming.spec import OnFull
from parsl_streaming.spec import Pattern
from parsl_streaming.spec import Site

Scalar = str | int | float | bool
Value = Scalar | None
"""What a fact is; `None` is not declared, and fulfils no condition."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is known of a channel.

    Attributes:
        kind: Type of its values.
        key: Where `streaming.toml` declares it, with `{channel}`, `{source}` and
            `{target}` for the names; empty if it cannot be declared.
        of: Finds it.
        allowed: The values that it can have, if they are few.
    """

    kind: type[Scalar]
    key: str
    of: Callable[[ChannelSpec, Site, Site], Value]
    allowed: tuple[str, ...] = ()


def _declared(kind: type[Scalar], key: str, field: str = '', allowed: tuple[str, ...] = ()) -> Fact:
    """A fact that is a field of the channel."""
    field = field or key
    return Fact(kind, f'channels.{{channel}}.{key}', lambda c, _s, _t: getattr(c, field), allowed)


FACTS: Final[Mapping[str, Fact]] = {
    'same_network': Fact(bool, 'sites.{target}.network', lambda _, s, t: s.network == t.network),
    'producer_inbound': Fact(bool, 'sites.{source}.inbound', lambda _, s, _t: s.inbound),
    'consumer_inbound': Fact(bool, 'sites.{target}.inbound', lambda _, _s, t: t.inbound),
    'producer_site': Fact(str, 'channels.{channel}.from', lambda c, _s, _t: c.source),
    'consumer_site': Fact(str, 'channels.{channel}.to', lambda c, _s, _t: c.target),
    'producer_network': Fact(str, 'sites.{source}.network', lambda _, s, _t: s.network),
    'consumer_network': Fact(str, 'sites.{target}.network', lambda _, _s, t: t.network),
    'channel': Fact(str, '', lambda c, _s, _t: c.name),
    'durability': _declared(str, 'durability', allowed=tuple(Durability)),
    'pattern': _declared(str, 'pattern', allowed=tuple(Pattern)),
    'replay': _declared(bool, 'replay'),
    'readers': _declared(int, 'readers'),
    'writers': _declared(int, 'writers'),
    'partitions': _declared(int, 'partitions'),
    'sealed': _declared(bool, 'sealed'),
    'pickle': _declared(bool, 'pickle'),
    'on_full': _declared(str, 'on_full', allowed=tuple(OnFull)),
    'max_message_bytes': _declared(int, 'max_message', 'max_message_bytes'),
}
"""Every fact by its name, as a rule's `when` names it."""


def facts_of(channel: ChannelSpec, source: Site, target: Site) -> dict[str, Value]:
    """The facts of a channel between two sites.

    Args:
        channel: The channel as declared.
        source: The site of its writers.
        target: The site of its readers.
    """
    found = {name: fact.of(channel, source, target) for name, fact in FACTS.items()}
    return {name: str(each) if isinstance(each, str) else each for name, each in found.items()}


def key_of(name: str, channel: ChannelSpec) -> str:
    """The dotted key of `streaming.toml` that decides a fact of this channel."""
    return FACTS[name].key.format(
        channel=channel.name, source=channel.source, target=channel.target
    )
