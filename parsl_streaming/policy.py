"""The policy: rules as data, the first that matches and is not refused wins.

A rule's `when` maps facts to conditions; nothing of it is ever evaluated as code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

from parsl_streaming.architectures import Catalogue
from parsl_streaming.errors import ConfigError
from parsl_streaming.errors import NoRoute
from parsl_streaming.facts import Scalar
from parsl_streaming.facts import Value
from parsl_streaming.facts import facts_of
from parsl_streaming.facts import key_of
from parsl_streaming.seam import Architecture
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Site


@dataclass(frozen=True, slots=True)
class Span:
    """A condition: a number within limits, the limits included.

    Attributes:
        min: The least number, if any.
        max: The greatest number, if any.
    """

    min: float | None = None
    max: float | None = None


Condition = Scalar | tuple[Scalar, ...] | Span
"""Equal to the scalar, equal to one of the scalars, or within the span."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When to use an architecture, and why.

    Attributes:
        name: The rule's name, unique in a policy.
        use: Name of the architecture.
        when: The conditions by fact; all must hold.
        because: A sentence that explains the rule.
    """

    name: str
    use: str
    when: Mapping[str, Condition] = field(default_factory=dict)
    because: str = ''


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of a rule, compared with a channel's fact.

    Attributes:
        fact: Name of the fact.
        value: What the fact is.
        wanted: What the rule asks for.
        key: The key of `streaming.toml` that decides the fact.
    """

    fact: str
    value: Value
    wanted: Condition
    key: str

    @property
    def holds(self) -> bool:
        """Whether the condition is fulfilled."""
        return _holds(self.value, self.wanted)

    @property
    def found(self) -> str:
        """The fact and its value."""
        return f'{self.fact} is {_shown(self.value)}'

    @property
    def needed(self) -> str:
        """What the condition asks for."""
        match self.wanted:
            case Span(min=least, max=most):
                limits = (('at least', least), ('at most', most))
                parts = [f'{word} {limit:,}' for word, limit in limits if limit is not None]
                return ' and '.join(parts)
            case tuple() as options:
                return ' or '.join(map(_shown, options))
            case scalar:
                return _shown(scalar)

    @property
    def change(self) -> str:
        """What would have to change in the configuration for the condition to hold."""
        where = f' ({self.key})' if self.key else ''
        return f'{self.found}, needs {self.needed}{where}'


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an architecture cannot carry a channel.

    Attributes:
        reason: What it cannot do.
        remedy: What would have to change; may be empty.
        declared: Whether the configuration alone shows it, so that it is a mistake to pin
            the architecture.
    """

    reason: str
    remedy: str = ''
    declared: bool = True

    def __str__(self) -> str:
        return f'{self.reason}; {self.remedy}' if self.remedy else self.reason


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one rule for one channel.

    Attributes:
        rule: The rule.
        checks: Its conditions, each with the channel's fact.
        refusal: Why its architecture cannot carry the channel, matched or not.
    """

    rule: Rule
    checks: tuple[Check, ...]
    refusal: Refusal | None

    @property
    def failed(self) -> tuple[Check, ...]:
        """The conditions that do not hold."""
        return tuple(check for check in self.checks if not check.holds)

    @property
    def matched(self) -> bool:
        """Whether every condition holds."""
        return not self.failed

    @property
    def eligible(self) -> bool:
        """Whether the rule matched and its architecture can carry the channel."""
        return self.matched and self.refusal is None


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says of a channel.

    Attributes:
        channel: The channel.
        verdicts: What became of each rule, in the order in which they were tried.
        pinned: Whether the channel names its architecture, so that no rule was asked.
    """

    channel: ChannelSpec
    verdicts: tuple[Verdict, ...]
    pinned: bool

    @property
    def winners(self) -> tuple[Verdict, ...]:
        """For each architecture that may carry the channel, the first rule that says so."""
        first: dict[str, Verdict] = {}
        for verdict in self.verdicts:
            if verdict.eligible:
                first.setdefault(verdict.rule.use, verdict)
        return tuple(first.values())

    @property
    def candidates(self) -> tuple[str, ...]:
        """Names of the architectures that may carry the channel, the best first."""
        return tuple(verdict.rule.use for verdict in self.winners)

    @property
    def chosen(self) -> str | None:
        """Name of the best architecture; `None` if there is no route."""
        return next(iter(self.candidates), None)

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """Names of the architectures to try, in order, if the chosen one cannot be opened."""
        return self.candidates[1:]


def evaluate(
    channel: ChannelSpec,
    source: Site,
    target: Site,
    rules: Sequence[Rule],
    architectures: Catalogue,
) -> Decision:
    """Try every rule on a channel; a decision without candidates is a decision too.

    Args:
        channel: The channel as declared.
        source: The site of its writers.
        target: The site of its readers.
        rules: The rules, in the order of their precedence.
        architectures: The installed architectures.

    Raises:
        ConfigError: An architecture does not accept its options.
    """
    if pin := channel.architecture:
        key = f'channels.{channel.name}.architecture'
        rules = [Rule('pinned', pin, because=f'The configuration pins it: {key} = "{pin}".')]
    facts = facts_of(channel, source, target)
    refusals = {
        name: _refusal(name, channel, source, target, architectures)
        for name in dict.fromkeys(rule.use for rule in rules)
    }
    verdicts = [
        Verdict(
            rule,
            tuple(
                Check(fact, facts[fact], wanted, key_of(fact, channel))
                for fact, wanted in rule.when.items()
            ),
            refusals[rule.use],
        )
        for rule in rules
    ]
    return Decision(channel, tuple(verdicts), pinned=pin is not None)


def choose(
    channel: ChannelSpec,
    source: Site,
    target: Site,
    rules: Sequence[Rule],
    architectures: Catalogue,
) -> Decision:
    """Decide how a channel travels.

    Args:
        channel: The channel as declared.
        source: The site of its writers.
        target: The site of its readers.
        rules: The rules, in the order of their precedence.
        architectures: The installed architectures.

    Returns:
        A decision with at least one candidate.

    Raises:
        ConfigError: The channel pins an architecture that is not installed, or that does
            not give what the channel declares.
        NoRoute: No architecture may carry the channel; the text says what would have to
            change for each.
    """
    decision = evaluate(channel, source, target, rules, architectures)
    if decision.chosen is None:
        refusals = [verdict.refusal for verdict in decision.verdicts]
        wrong = decision.pinned and all(each and each.declared for each in refusals)
        raise (ConfigError if wrong else NoRoute)(no_route(decision))
    return decision


def no_route(decision: Decision) -> str:
    """Why there is no route: every rule's refusal, and what would have to change."""
    channel = decision.channel
    head = f'no route for channel "{channel.name}" from "{channel.source}" to "{channel.target}"'
    return '\n'.join([f'{head}:', *(f'  {_obstacle(each)}' for each in decision.verdicts)])


def _obstacle(verdict: Verdict) -> str:
    """Why a rule gave no route, in one line."""
    reasons = [check.change for check in verdict.failed]
    if verdict.refusal:
        reasons.append(str(verdict.refusal))
    return f'rule {verdict.rule.name}, {verdict.rule.use}: ' + '; '.join(reasons)


def _shown(value: Value) -> str:
    if value is None:
        return 'not declared'
    return json.dumps(value) if isinstance(value, str | bool) else f'{value:,}'


def _holds(value: Value, wanted: Condition) -> bool:
    if value is None:
        return False
    if isinstance(wanted, Span):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and _within(float(value), wanted)
    if isinstance(wanted, tuple):
        return any(_holds(value, option) for option in wanted)
    # True equals 1 in Python, but a truth value is no number here.
    return isinstance(value, bool) == isinstance(wanted, bool) and value == wanted


def _within(number: float, span: Span) -> bool:
    return (span.min is None or number >= span.min) and (span.max is None or number <= span.max)


def _refusal(
    name: str, channel: ChannelSpec, source: Site, target: Site, architectures: Catalogue
) -> Refusal | None:
    """Why an architecture cannot carry a channel, or `None`."""
    if advice := architectures.missing(name):
        return Refusal(*advice)
    architecture = architectures.get(name)
    if refusal := _guarantee(architecture, channel):
        return refusal
    reason = architecture.refuse(channel, source, target)
    return None if reason is None else Refusal(reason, declared=False)


def _guarantee(architecture: Architecture, channel: ChannelSpec) -> Refusal | None:
    """Compare what the channel declares with what the architecture gives."""
    path = f'channels.{channel.name}'
    if channel.durability not in architecture.durabilities:
        given = ' or '.join(f'"{each}"' for each in sorted(architecture.durabilities))
        reason = f'it does not give durability "{channel.durability}"'
        return Refusal(reason, f'declare {path}.durability = {given}')
    if channel.pattern not in architecture.patterns:
        given = ' or '.join(f'"{each}"' for each in sorted(architecture.patterns))
        reason = f'it does not carry pattern "{channel.pattern}"'
        return Refusal(reason, f'declare {path}.pattern = {given}')
    if channel.replay and not architecture.can_replay:
        return Refusal('it cannot replay', f'declare {path}.replay = false')
    return None
