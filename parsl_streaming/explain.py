"""Why each channel travels as it does, for people and for programs."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any
from typing import Final

from parsl_streaming import architectures
from parsl_streaming.architectures import Catalogue
from parsl_streaming.config import Config
from parsl_streaming.policy import Decision
from parsl_streaming.policy import Verdict
from parsl_streaming.policy import evaluate

WIDTH: Final = 100
"""Columns of the text."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the policy says of some channels, and why.

    Attributes:
        decisions: The channels' decisions, in the order of the configuration.
        installed: Names of the installed architectures.
    """

    decisions: tuple[Decision, ...]
    installed: tuple[str, ...]

    @property
    def routed(self) -> bool:
        """Whether there is a route for every channel."""
        return all(decision.chosen for decision in self.decisions)

    def text(self) -> str:
        """The explanation as plain text, at most 100 columns wide where words allow."""
        parts = [_text(decision, self.installed) for decision in self.decisions]
        return '\n\n'.join(parts) if parts else 'no channel is configured'

    def as_dict(self) -> dict[str, Any]:
        """The explanation as plain values, for JSON."""
        channels = [_as_dict(decision, self.installed) for decision in self.decisions]
        return {'installed': list(self.installed), 'channels': channels}


def explain(
    config: Config, channel: str | None = None, catalogue: Catalogue | None = None
) -> Explanation:
    """Explain how channels travel, and why.

    Args:
        config: The configuration.
        channel: Name of a channel; every channel by default.
        catalogue: The session's architectures; made for the occasion by default.

    Raises:
        UnknownChannel: No channel of this name is configured.
        ConfigError: An architecture does not accept its options.
    """
    channels = config.channels.values() if channel is None else [config.channel(channel)]
    used = catalogue or Catalogue(config.options, config.origin)
    try:
        decisions = tuple(
            evaluate(each, *config.ends(each), config.rules, used) for each in channels
        )
    finally:
        if catalogue is None:
            used.close()
    return Explanation(decisions, tuple(architectures.names()))


def changes(decision: Decision, installed: tuple[str, ...]) -> dict[str, list[str]]:
    """What would have to change for a channel to take another architecture than the chosen one.

    Args:
        decision: The channel's decision.
        installed: Names of the installed architectures.

    Returns:
        For each architecture, the ways to get it; one is enough.
    """
    named = [verdict.rule.use for verdict in decision.verdicts]
    others = [name for name in dict.fromkeys([*named, *installed]) if name != decision.chosen]
    return {name: _ways(name, decision) for name in others}


def _ways(name: str, decision: Decision) -> list[str]:
    verdicts = [verdict for verdict in decision.verdicts if verdict.rule.use == name]
    pin = f'channels.{decision.channel.name}.architecture = "{name}" pins it'
    if not verdicts:
        return [f'{pin}, if it can carry the channel']
    if refusal := verdicts[0].refusal:
        return [str(refusal)]
    failed = [verdict for verdict in verdicts if verdict.failed]
    ways = [f'rule {verdict.rule.name}: {_failures(verdict)}' for verdict in failed]
    return [pin, *ways]


def _failures(verdict: Verdict) -> str:
    return '; '.join(check.change for check in verdict.failed)


def _text(decision: Decision, installed: tuple[str, ...]) -> str:
    channel = decision.channel
    lines = [f'channel {channel.name}: {channel.source} to {channel.target}, {channel.pattern}']
    lines += _outcome(decision)
    lines += _section('rules, in the order in which they were tried:')
    for number, verdict in enumerate(decision.verdicts, start=1):
        lines += _rule(f'{number}.', verdict, decision)
    others = changes(decision, installed)
    if others:
        lines += _section('for another architecture, one of:')
    for name, ways in others.items():
        for way in ways:
            lines += _wrap(f'{name}: {way}', 4)
    return '\n'.join(lines)


def _outcome(decision: Decision) -> list[str]:
    if not decision.winners:
        return _wrap('no route: no architecture may carry this channel', 2)
    winner = decision.winners[0]
    lines = _wrap(f'architecture: {winner.rule.use}, by rule {winner.rule.name}', 2)
    lines += _wrap(f'why: {winner.rule.because}', 2)
    after = ', then '.join(decision.fallbacks) or 'none'
    return lines + _wrap(f'if it cannot be opened: {after}', 2)


def _rule(number: str, verdict: Verdict, decision: Decision) -> list[str]:
    head = f'{number} {verdict.rule.name}: use {verdict.rule.use} - {_state(verdict, decision)}'
    lines = _wrap(head, 4)
    for check in verdict.checks:
        mark = 'holds' if check.holds else 'fails'
        lines += _wrap(f'{mark}: {check.found}, needs {check.needed}', 7)
    if verdict.refusal:
        lines += _wrap(f'refused: {verdict.refusal}', 7)
    return lines


def _state(verdict: Verdict, decision: Decision) -> str:
    if not verdict.matched:
        return 'does not match'
    if verdict.refusal:
        return 'matches, but is refused'
    if decision.winners[0] is verdict:
        return 'matches, chosen'
    return 'matches'


def _section(title: str) -> list[str]:
    return ['', f'  {title}']


def _wrap(line: str, indent: int) -> list[str]:
    return textwrap.wrap(
        line,
        WIDTH,
        initial_indent=' ' * indent,
        subsequent_indent=' ' * (indent + 3),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _as_dict(decision: Decision, installed: tuple[str, ...]) -> dict[str, Any]:
    channel = decision.channel
    winner = next(iter(decision.winners), None)
    return {
        'channel': channel.name,
        'from': channel.source,
        'to': channel.target,
        'architecture': decision.chosen,
        'rule': winner.rule.name if winner else None,
        'because': winner.rule.because if winner else None,
        'pinned': decision.pinned,
        'fallbacks': list(decision.fallbacks),
        'rules': [_rule_dict(verdict) for verdict in decision.verdicts],
        'changes': changes(decision, installed),
    }


def _rule_dict(verdict: Verdict) -> dict[str, Any]:
    return {
        'name': verdict.rule.name,
        'use': verdict.rule.use,
        'because': verdict.rule.because,
        'matched': verdict.matched,
        'refusal': str(verdict.refusal) if verdict.refusal else None,
        'facts': [
            {'fact': each.fact, 'value': each.value, 'needs': each.needed, 'holds': each.holds}
            for each in verdict.checks
        ],
    }
