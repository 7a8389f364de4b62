"""What a reader has to tell the broker, kept until the broker has answered."""

from __future__ import annotations

import time
from dataclasses import dataclass
from dataclasses import field
from itertools import chain
from typing import Any
from typing import Final

from parsl_streaming_mss.access import Access
from parsl_streaming_mss.errors import FULL
from parsl_streaming_mss.errors import broker_error
from parsl_streaming_mss.line import Line
from parsl_streaming_mss.resp import Argument
from parsl_streaming_mss.resp import ErrorReply

_CHUNK: Final = 256
_RETRY: Final = 0.1
# Idle for this long, an entry may be claimed by whoever sees it.
_ABANDONED_MS: Final = 365 * 24 * 3600 * 1000

Token = tuple[str, str]
"""A stream's key and an entry's id."""


@dataclass(slots=True)
class _Load:
    letters: list[list[Argument]] = field(default_factory=list)
    marks: dict[Token, int] = field(default_factory=dict)
    settled: dict[str, list[Argument]] = field(default_factory=dict)
    released: dict[Token, tuple[int, int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.letters or self.marks or self.settled or self.released)


class Outbox:
    """Collects settlements, marks, letters and releases; sends them in this order: letters first.

    Letters (replies and dead letters) go in one transaction with what follows:
    nothing is settled unless they are stored.

    Args:
        access: The channel's place in the broker.
        group: The reader's group.
        consumer: The reader's name in the group.
        keep: Whether settled batches are kept, for replay.
        share: Whether other readers are told at once of what is given back.
    """

    def __init__(
        self, access: Access, group: str, consumer: str, *, keep: bool, share: bool
    ) -> None:
        self._access = access
        self._group = group
        self._consumer = consumer
        self._keep = keep
        self._share = share
        self._waiting = _Load()
        self._sent: _Load | None = None
        self._refusal: ErrorReply | None = None
        self._retry_at = 0.0

    @property
    def empty(self) -> bool:
        """Whether the broker has answered everything."""
        return self.told and self._sent is None

    @property
    def told(self) -> bool:
        """Whether everything is on the line."""
        return not self._waiting

    def letter(self, command: list[Argument]) -> None:
        """Append a reply or a dead letter by this command."""
        self._waiting.letters.append(command)

    def mark(self, token: Token, settled: int) -> None:
        """Record the bits of the messages that need no redelivery."""
        self._waiting.marks[token] = settled

    def settle(self, token: Token, messages: int, nbytes: int) -> None:
        """Settle an entry."""
        self._waiting.marks.pop(token, None)
        self._waiting.settled.setdefault(token[0], []).extend((token[1], messages, nbytes))

    def release(self, token: Token, deliveries: int, settled: int) -> None:
        """Give an entry back, after this many deliveries."""
        self._waiting.released[token] = (deliveries, settled)

    def flush(self, line: Line) -> None:
        """Put what waits on the line, unless an answer is still awaited."""
        if self._sent is not None or not self._waiting or time.monotonic() < self._retry_at:
            return
        self._sent, self._waiting, self._refusal = self._waiting, _Load(), None
        commands = self._commands(self._sent)
        if self._sent.letters:
            line.add(self._on_queued, ['MULTI'])
            for command in commands:
                line.add(self._on_queued, command)
            line.add(self._on_executed, ['EXEC'])
            return
        for command in commands[:-1]:
            line.add(self._on_done, command)
        line.add(self._on_last, commands[-1])

    def _commands(self, load: _Load) -> list[list[Argument]]:
        commands = [*load.letters]
        keys, call = self._access.keys, self._access.scripts.call
        marks, me = keys.marks(self._group), (self._group, self._consumer)
        released = [keys.released(self._group)] if self._share else []
        if load.marks:
            pairs = [('|'.join(token), hex(bits)) for token, bits in load.marks.items()]
            commands.append(['HSET', marks, *chain.from_iterable(pairs)])
        for stream, triples in load.settled.items():
            name = keys.name_of(stream)
            where = [stream, marks, keys.counters(name.producer, name.epoch)]
            for i in range(0, len(triples), 3 * _CHUNK):
                chunk = triples[i : i + 3 * _CHUNK]
                commands.append(call('settle', where, [*me, int(self._keep), *chunk]))
        for (stream, entry_id), (deliveries, bits) in load.released.items():
            where = [stream, marks, *released]
            rest: list[Argument] = [entry_id, deliveries, hex(bits) if bits else 0, _ABANDONED_MS]
            commands.append(call('release', where, [*me, *rest]))
        return commands

    def _on_queued(self, reply: Any) -> None:
        if isinstance(reply, ErrorReply):
            self._refusal = self._refusal or reply

    def _on_executed(self, reply: Any) -> None:
        if isinstance(reply, ErrorReply):
            refusal = self._refusal or reply
            if refusal.code not in FULL:
                raise broker_error(refusal, f'settling batches of group {self._group!r}')
            self.restore()
            self._retry_at = time.monotonic() + _RETRY
            return
        self._sent = None
        for answer in reply:
            self._on_done(answer)

    def _on_last(self, reply: Any) -> None:
        self._sent = None
        self._on_done(reply)

    def _on_done(self, reply: Any) -> None:
        # A full broker may refuse marks: they only save work, so nothing is lost.
        if isinstance(reply, ErrorReply) and reply.code not in FULL:
            raise broker_error(reply, f'settling batches of group {self._group!r}')

    def restore(self) -> None:
        """What was sent and not answered waits again, ahead of what came later."""
        if self._sent is None:
            return
        older, newer = self._sent, self._waiting
        self._sent, self._waiting = None, older
        older.letters += newer.letters
        older.marks |= newer.marks
        older.released |= newer.released
        for stream, triples in newer.settled.items():
            older.settled.setdefault(stream, []).extend(triples)
