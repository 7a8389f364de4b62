"""The order of a stream that one reader of a group reads at a time, whoever that is."""

from __future__ import annotations

import time
from collections.abc import Container
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from typing import Any
from typing import Final

from parsl_streaming.seam import EndContext
from parsl_streaming.spec import Pattern
from parsl_streaming_mss.access import Access
from parsl_streaming_mss.entry import pairs
from parsl_streaming_mss.errors import FULL
from parsl_streaming_mss.errors import broker_error
from parsl_streaming_mss.lease import Leases
from parsl_streaming_mss.line import Line
from parsl_streaming_mss.line import ignore
from parsl_streaming_mss.resp import Argument
from parsl_streaming_mss.resp import ErrorReply

_SCAN: Final = 16
_FIRST_PAUSE: Final = 0.005
_LAST_PAUSE: Final = 0.1


def in_order(end: EndContext) -> bool:
    """Whether one reader of the group at a time reads a stream, so that its order can be kept."""
    pattern = end.channel.pattern
    return pattern is Pattern.SHUFFLE or (pattern.is_broadcast and end.group == end.name)


@dataclass(slots=True)
class _Wait:
    """A stream that is held up."""

    asked: bool = False
    since: float = field(default_factory=time.monotonic)


class Succession:
    """Says which streams a reader may read on.

    The broker gives entries out in their order, so whatever a predecessor got is older than
    what is left. A stream that comes to this reader is held up until nobody else has entries
    of it: those are claimed, the oldest first. A predecessor that lives could still ask for
    more. That it will not, it says by leaving the stream's consumers; it is waited for until
    its lease would have run out.

    Where readers share the streams, there is no order to keep, and nothing is held up.

    Args:
        line: The reader's connection.
        access: The channel's place in the broker.
        end: What the reader opened.
        consumer: The reader's name in the group.
        leases: What the reader holds and what it should claim.
    """

    def __init__(
        self, line: Line, access: Access, end: EndContext, consumer: str, leases: Leases
    ) -> None:
        self.in_order = in_order(end)
        self._line = line
        self._access = access
        self._end = end
        self._consumer = consumer
        self._leases = leases
        self._mine: list[str] = []
        self._clear: set[str] = set()
        self._held_up: dict[str, _Wait] = {}
        self._leaving: set[str] = set()
        self._ask_at = 0.0
        self._pause = _FIRST_PAUSE

    @property
    def patience(self) -> float:
        """Seconds for which the reader may wait for new entries before it calls `serve` again."""
        return self._pause if self._held_up else float('inf')

    def enter(self, stream: str) -> None:
        """A stream came to this reader."""
        if not self.in_order:
            return
        self._leaving.discard(stream)
        self._hold_up(stream)
        command: list[Argument] = ['XGROUP', 'CREATECONSUMER', stream, self._end.group]
        self._line.add(self._check, [*command, self._consumer])
        self._ask(stream, self._held_up[stream])

    def _hold_up(self, stream: str) -> None:
        self._clear.discard(stream)
        self._held_up[stream] = _Wait()
        self._hurry()

    def _hurry(self) -> None:
        self._ask_at, self._pause = 0.0, _FIRST_PAUSE

    def readable(self, mine: list[str]) -> list[str]:
        """Those streams of this reader on which nothing older is waiting.

        Args:
            mine: The streams that this reader should read.
        """
        self._follow(mine)
        if not self.in_order or not (self._held_up or self._leases.free):
            return mine
        waiting = self._held_up.keys() | self._leases.claimable()
        return [stream for stream in mine if stream not in waiting]

    def _follow(self, mine: list[str]) -> None:
        known = len(self._clear) + len(self._held_up)
        if not self.in_order or (mine == self._mine and known == len(mine)):
            return
        for stream in {*self._clear, *self._held_up}.difference(mine):
            self._lose(stream)
        for stream in mine:
            if stream not in self._clear and stream not in self._held_up:
                self.enter(stream)
        self._mine = mine

    def _lose(self, stream: str) -> None:
        self._clear.discard(stream)
        self._held_up.pop(stream, None)
        self._leases.leave(stream)
        self._leaving.add(stream)

    def released(self, stream: str) -> None:
        """This reader gave an entry of the stream back: it comes before what is newer."""
        if stream in self._clear:
            self._hold_up(stream)

    def serve(self, mine: list[str]) -> None:
        """Look after the streams that come and go.

        To be called while no answer to a read is awaited, after everything that this
        reader has to say about its entries.

        Args:
            mine: The streams that this reader should read.
        """
        self._follow(mine)
        if self._leaving:
            self._leave()
        if self._held_up and time.monotonic() >= self._ask_at:
            self._ask_again()

    def _leave(self) -> None:
        """Leave what was lost, as soon as nothing of it is held."""
        for stream in self._leaving - {stream for stream, _ in self._leases.held}:
            self._leaving.discard(stream)
            arguments = [self._end.group, self._consumer]
            self._line.add(ignore, self._access.scripts.call('leave', [stream], arguments))

    def _ask_again(self) -> None:
        self._ask_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LAST_PAUSE)
        claimable = self._leases.claimable()
        for stream, wait in self._held_up.items():
            if not wait.asked and stream not in claimable:
                self._ask(stream, wait)

    def _ask(self, stream: str, wait: _Wait) -> None:
        wait.asked = True
        handler = partial(self._on_consumers, stream, wait)
        self._line.add(handler, ['XINFO', 'CONSUMERS', stream, self._end.group])

    def _check(self, reply: Any) -> None:
        # A full broker may refuse to name a consumer: it is one as soon as it gets something.
        if isinstance(reply, ErrorReply) and reply.code not in FULL:
            raise broker_error(reply, f'following other readers of group {self._end.group!r}')

    def _on_consumers(self, stream: str, wait: _Wait, reply: Any) -> None:
        self._check(reply)
        if self._held_up.get(stream) is not wait:
            return  # It went, and perhaps came again, meanwhile.
        wait.asked = False
        pending = {fields[b'name'].decode(): fields[b'pending'] for fields in map(pairs, reply)}
        pending.pop(self._consumer, None)
        if any(pending.values()):
            self._seek_oldest(stream)
        elif not self._is_awaited(wait, pending):
            del self._held_up[stream]
            self._clear.add(stream)
            self._hurry()

    def _is_awaited(self, wait: _Wait, others: Container[str]) -> bool:
        """Whether one of these readers may not have seen yet that the stream is not its own."""
        if time.monotonic() - wait.since >= self._end.channel.lease:
            return False
        readers = self._end.rendezvous.view.of('reader')
        return any(f'{r.name}:{r.epoch}' in others for r in readers if r.state == 'open')

    def _seek_oldest(self, stream: str) -> None:
        """Have claimed what nobody keeps alive, up to the first entry that somebody does."""
        count = _SCAN + sum(held == stream for held, _ in self._leases.held)
        command: list[Argument] = ['XPENDING', stream, self._end.group, '-', '+', count]
        self._line.add(partial(self._on_oldest, stream), command)

    def _on_oldest(self, stream: str, reply: Any) -> None:
        self._check(reply)
        for entry_id, consumer, idle_ms, deliveries in reply:
            if consumer.decode() == self._consumer:
                continue
            if stream not in self._held_up or idle_ms < self._leases.lease_ms:
                return
            self._leases.offer((stream, entry_id.decode()), self._leases.lease_ms, deliveries)
            self._hurry()

    def restore(self) -> None:
        """After a new connection: what others did meanwhile is unknown."""
        self._clear.clear()
        self._held_up.clear()
        for stream in self._mine:
            self.enter(stream)
