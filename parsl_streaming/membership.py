"""Who is on a channel: the registry's state, without its sockets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Any

from parsl_streaming.errors import ChannelClosed
from parsl_streaming.errors import ProducerNameTaken
from parsl_streaming.route import news_of
from parsl_streaming.route import replaced
from parsl_streaming.seam import Member
from parsl_streaming.seam import View
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Pattern
from parsl_streaming.statistics import ChannelStatistics


@dataclass(slots=True)
class Channel:
    """The members of one channel, and the secrets that its ends get.

    Attributes:
        spec: The channel as declared.
        secret: What its senders' keys are derived from; `None` when not sealed.
        secrets: What the architecture hands to the ends.
        statistics: The ends' newest counters.
        letters: Dead letters that no architecture stores: head and body of each.
        view: The members and the partitions' holders.
    """

    spec: ChannelSpec
    secret: bytes | None = field(repr=False)
    secrets: Mapping[str, Any] = field(default_factory=dict, repr=False)
    statistics: ChannelStatistics = field(default_factory=ChannelStatistics)
    letters: list[tuple[bytes, bytes]] = field(default_factory=list)
    view: View = field(default_factory=View)
    _calls: dict[tuple[str, str], str] = field(default_factory=dict)
    _changed: dict[tuple[str, str], int] = field(default_factory=dict)

    def find(self, role: str, name: str) -> Member | None:
        """The member of this role and name."""
        return self.view.places.get((role, name))

    def declare(self, role: str, name: str, call: str, group: str) -> None:
        """A task was submitted that will open this end.

        Raises:
            ProducerNameTaken: Another call declared the name.
            ChannelClosed: Every declared writer has ended already.
        """
        known = self.find(role, name)
        if known is not None:
            self._require_same_call(role, name, call)
            return
        self._require_not_ended(role)
        self._calls[role, name] = call
        self._put(Member(name, role, 0, group))

    def open(self, role: str, name: str, call: str, group: str) -> int:
        """An end opens; returns its epoch.

        Raises:
            ProducerNameTaken: Another call has the name.
            ChannelClosed: Every declared writer has ended already.
        """
        self.declare(role, name, call, group)
        member = self.find(role, name)
        epoch = (member.epoch if member else 0) + 1
        self._put(Member(name, role, epoch, group, 'open'))
        return epoch

    def rejoin(
        self, role: str, name: str, epoch: int, group: str, contact: Mapping[str, Any]
    ) -> bool:
        """An end that is still open comes back; says whether it is the newest epoch."""
        member = self.find(role, name)
        if member is not None and member.epoch > epoch:
            return False
        self._put(Member(name, role, epoch, group, 'open', contact))
        return True

    def announce(self, role: str, name: str, epoch: int, contact: Mapping[str, Any]) -> None:
        """An end tells how to reach it; ignored from an older epoch."""
        member = self.find(role, name)
        if member is not None and member.epoch == epoch:
            self._put(replace(member, contact={**member.contact, **contact}))

    def set_state(
        self, role: str, name: str, epoch: int | None, state: str, **contact: Any
    ) -> None:
        """An end closed, was lost or failed; `epoch` None means whichever is newest."""
        member = self.find(role, name)
        if member is None or epoch not in (None, member.epoch) or member.state == state:
            return
        self._put(replace(member, state=state, contact={**member.contact, **contact}))

    def _require_same_call(self, role: str, name: str, call: str) -> None:
        if self._calls.get((role, name), call) != call:
            msg = (
                f'channel {self.spec.name!r}: the {role} name {name!r} is taken by another '
                f'{role}; give each its own name'
            )
            raise ProducerNameTaken(msg)

    def _require_not_ended(self, role: str) -> None:
        writers = self.view.of('writer')
        expected = self.spec.writers or 1
        if (
            role == 'writer'
            and len(writers) >= expected
            and all('end' in w.contact for w in writers)
        ):
            msg = (
                f'channel {self.spec.name!r} has ended: every writer closed it, {len(writers)} in '
                'all; submit every writer before the first ends, or declare writers = N'
            )
            raise ChannelClosed(msg)

    def news(self, since: int) -> list[Any]:
        """What changed since a version of the view, for `route.follow`."""
        members = [m for m in self.view.members if self._changed[m.role, m.name] > since]
        return news_of(self.view, members, since)

    def _put(self, member: Member) -> None:
        version = self.view.version + 1
        self._changed[member.role, member.name] = version
        view = replaced(self.view, version, [member], self.view.partitions)
        if self.spec.pattern is Pattern.SHUFFLE:
            view = replaced(view, version, [], self._partitions(view))
        self.view = view

    def _partitions(self, view: View) -> dict[str, list[str]]:
        """Deal the partitions of each group to its open readers; holders keep what they can."""
        groups: dict[str, list[str]] = {}
        for member in view.members:
            if member.role == 'reader' and member.state == 'open':
                groups.setdefault(member.group, []).append(member.name)
        return {group: self._deal(group, names) for group, names in groups.items()}

    def _deal(self, group: str, names: list[str]) -> list[str]:
        fair = -(-self.spec.partitions // len(names))
        load = dict.fromkeys(names, 0)
        before = self.view.partitions.get(group, [''] * self.spec.partitions)
        dealt: list[str] = []
        for holder in before:
            keeps = load.get(holder, fair) < fair
            dealt.append(holder if keeps else '')
            if keeps:
                load[holder] += 1
        for i, holder in enumerate(dealt):
            if not holder:
                dealt[i] = min(names, key=lambda name: load[name])
                load[dealt[i]] += 1
        return dealt
