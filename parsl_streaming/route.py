"""Routes: what a worker needs to open its end of a link. No secrets, picklable."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from parsl_streaming.seam import Member
from parsl_streaming.seam import View
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The description from which both ends of a channel are opened.

    Attributes:
        session: Identity of the session that provisioned the channel.
        version: Version of parsl_streaming that made the route.
        channel: The channel as declared.
        source: The writers' site.
        target: The readers' site.
        architecture: Name of the architecture that carries it.
        public: What the architecture published.
        registry: Addresses of the registry (`tcp://host:port`), tried in order.
        registry_key: The registry's CURVE public key.
    """

    session: str
    version: str
    channel: ChannelSpec
    source: Site
    target: Site
    architecture: str
    registry: tuple[str, ...]
    registry_key: str
    public: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A task's place on a channel: the route, and who the task is there.

    Attributes:
        route: How to get there.
        role: `writer` or `reader`.
        name: Producer or consumer name.
        call: Identity of the app call: a retry of the same call takes over its
            name, another call does not.
        group: A reader's group; empty for a writer.
        start: Where a reader of a replayable channel begins.
        attempt: Which try of the call this is, from 1; only an executor of ours counts.
    """

    route: Route
    role: str
    name: str
    call: str
    group: str = ''
    start: str | None = None
    attempt: int = 1

    @property
    def site(self) -> Site:
        """Where the end runs."""
        return self.route.source if self.role == 'writer' else self.route.target

    def __reduce__(self) -> tuple[Callable[[bytes], Ticket], tuple[bytes]]:
        """As bytes: Parsl's dill needs ten times as long as pickle for all that a route holds."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return _ticket, (pickle.dumps(fields),)


def _ticket(fields: bytes) -> Ticket:
    return Ticket(**pickle.loads(fields))  # noqa: S301 (part of a pickle)


def news_of(view: View, changed: Sequence[Member], since: int) -> list[Any]:
    """What is new in a view, as msgpack values.

    Args:
        view: The view.
        changed: The members that changed since.
        since: The version that the other side has; 0 if it has none.
    """
    members = [[m.name, m.role, m.epoch, m.group, m.state, dict(m.contact)] for m in changed]
    return [since, view.version, members, {g: list(p) for g, p in view.partitions.items()}]


def follow(view: View, news: list[Any]) -> View:
    """The view with what `news_of` gave."""
    since, version, members, partitions = news
    return replaced(view if since else View(), version, (Member(*m) for m in members), partitions)


def replaced(
    view: View, version: int, members: Iterable[Member], partitions: Mapping[str, Sequence[str]]
) -> View:
    """A view with some members in place of those of their role and name."""
    places = {**view.places, **{(member.role, member.name): member for member in members}}
    fresh = View(version, tuple(places.values()), partitions)
    vars(fresh)['places'] = places  # known already: a view may have thousands
    return fresh
