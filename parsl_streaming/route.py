"""Routes: what a worker needs to open its end of a link. No secrets, picklable."""

from __future__ import annotations

from collections.abc import Mapping
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
    """

    route: Route
    role: str
    name: str
    call: str
    group: str = ''
    start: str | None = None

    @property
    def site(self) -> Site:
        """Where the end runs."""
        return self.route.source if self.role == 'writer' else self.route.target


def view_as_list(view: View) -> list[Any]:
    """A view as msgpack values."""
    members = [[m.name, m.role, m.epoch, m.group, m.state, dict(m.contact)] for m in view.members]
    return [view.version, members, {g: list(p) for g, p in view.partitions.items()}]


def view_from_list(values: list[Any]) -> View:
    """A view from what `view_as_list` gave."""
    version, members, partitions = values
    return View(version, tuple(Member(*member) for member in members), partitions)
