"""Which streams and ends a channel has, and which of them a reader reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Container
from datetime import datetime
from functools import partial
from typing import Any
from typing import Final

from parsl_streaming.errors import BrokerDataLost
from parsl_streaming.errors import UsageError
from parsl_streaming.seam import Batch
from parsl_streaming.seam import EndContext
from parsl_streaming.spec import Pattern
from parsl_streaming_mss.access import Access
from parsl_streaming_mss.entry import end_batch
from parsl_streaming_mss.entry import pairs
from parsl_streaming_mss.errors import broker_error
from parsl_streaming_mss.line import Line
from parsl_streaming_mss.resp import Argument
from parsl_streaming_mss.resp import ErrorReply

BUSY_INTERVAL: Final = 0.2
IDLE_INTERVAL: Final = 0.02
_HIGHEST: Final = 2**64 - 1


class Directory:
    """Follows the streams and ends of a channel for one reader.

    Args:
        line: The reader's connection.
        access: The channel's place in the broker.
        end: What the reader opened.
        enter: Called with each stream that this reader should read, as soon as it is found.
    """

    def __init__(
        self, line: Line, access: Access, end: EndContext, enter: Callable[[str], None]
    ) -> None:
        self._line = line
        self._access = access
        self._end = end
        self._enter = enter
        self._seek = _seek_of(end.start)
        self._looked = float('-inf')
        self._first_look = True
        self._known: set[str] = set()
        self._by_producer: dict[str, dict[str, int]] = {}  # Streams to their epochs.
        self._grouped: dict[str, int] = {}  # To their partitions; in this order they are read.
        self._done: set[str] = set()
        self._ended: set[str] = set()

    @property
    def grouped(self) -> list[str]:
        """Every stream on which the group exists and that may still bring something."""
        return [stream for stream in self._grouped if stream not in self._done]

    def mine(self) -> list[str]:
        """The streams that this reader reads now."""
        mine, done = self._partitions(), self._done
        return [s for s, partition in self._grouped.items() if partition in mine and s not in done]

    def _partitions(self) -> Container[int]:
        end = self._end
        if end.channel.pattern is not Pattern.SHUFFLE:
            return (0,)
        owners = end.rendezvous.view.partitions.get(end.group, ())
        return {i for i, owner in enumerate(owners) if owner == end.name}

    def look(self, deliver: Callable[[Batch], None], *, idle: bool) -> None:
        """Look for new streams and ends, at most every 0.2 s (0.02 s when idle).

        Args:
            deliver: Called with an END batch when all before it is settled.
            idle: Whether there was nothing to read.
        """
        now = time.monotonic()
        if now - self._looked < (IDLE_INTERVAL if idle else BUSY_INTERVAL):
            return
        self._looked = now
        self._line.add(self._on_streams, ['SMEMBERS', self._access.keys.streams])
        self._line.add(partial(self._on_ends, deliver), ['HGETALL', self._access.keys.ends])

    def _on_streams(self, reply: Any) -> None:
        self._check(reply)
        fresh = {bytes(stream).decode() for stream in reply} - self._known
        mine = self._partitions()
        # Of streams found together, those of older incarnations are read first.
        for stream in sorted(fresh, key=lambda stream: self._access.keys.name_of(stream).epoch):
            self._known.add(stream)
            name = self._access.keys.name_of(stream)
            self._by_producer.setdefault(name.producer, {})[stream] = name.epoch
            command: list[Argument] = ['XGROUP', 'CREATE', stream, self._end.group, '0']
            self._line.add(partial(self._on_group, stream), command)
            if self._seek:
                self._line.add(self._check, self._seek_command(stream))
            if self._access.keys.name_of(stream).partition in mine:
                self._enter(stream)
        self._first_look = False

    def _seek_command(self, stream: str) -> list[Argument]:
        assert self._seek is not None  # noqa: S101 -- the caller has seen to it
        kind, value = self._seek
        if kind == 'offset':
            return self._access.scripts.call('seek', [stream], [self._end.group, value])
        # A stream that appears after the reader opened lies after "end" as a whole.
        place = value if value != '$' or self._first_look else '0'
        return ['XGROUP', 'SETID', stream, self._end.group, place]

    def _on_group(self, stream: str, reply: Any) -> None:
        if isinstance(reply, ErrorReply) and 'key to exist' in reply.text:
            msg = (
                f'channel {self._end.channel.name!r}: the broker at {self._line.endpoint} no '
                f'longer has the stream {stream}: it was emptied, or the channel was released'
            )
            raise BrokerDataLost(msg)
        if not (isinstance(reply, ErrorReply) and reply.code == 'BUSYGROUP'):
            self._check(reply)
        self._grouped[stream] = self._access.keys.name_of(stream).partition

    def _check(self, reply: Any) -> None:
        if isinstance(reply, ErrorReply):
            where = f'channel {self._end.channel.name!r} in the broker at {self._line.endpoint}'
            raise broker_error(reply, f'looking for the streams of {where}')

    def _on_ends(self, deliver: Callable[[Batch], None], reply: Any) -> None:
        self._check(reply)
        for field, value in pairs(reply).items():
            ended = field.decode()
            if ended not in self._ended:
                # The groups of all of them are made on this line, so before this is answered.
                streams = self._streams_of(ended)
                handler = partial(self._on_drained, deliver, ended, streams, value)
                keys, group = sorted(streams), [self._end.group]
                self._line.add(handler, self._access.scripts.call('drained', keys, group))

    def _streams_of(self, ended: str) -> set[str]:
        """The streams of a producer, of this incarnation and the older ones."""
        producer, _, epoch = ended.rpartition(':')
        mine = self._by_producer.get(producer, {})
        return {
            stream for stream, its in mine.items() if its <= int(epoch) and stream in self._known
        }

    def _on_drained(
        self,
        deliver: Callable[[Batch], None],
        ended: str,
        streams: set[str],
        value: bytes,
        reply: Any,
    ) -> None:
        self._check(reply)
        if reply and ended not in self._ended:
            self._ended.add(ended)
            self._done |= streams
            deliver(end_batch(value))

    def restore(self) -> None:
        """After a new connection: look again at once, and again for what was not answered."""
        self._known &= self._grouped.keys()
        self._looked = float('-inf')


def _seek_of(start: str | None) -> tuple[str, str] | None:
    """Where a reader begins: what to seek, and its value; `None` keeps the group's position.

    Raises:
        UsageError: It is none of `begin`, `end`, an offset or an ISO time.
    """
    if start is None:
        return None
    if start in ('begin', 'end'):
        return 'id', '0' if start == 'begin' else '$'
    if start.isdecimal():
        return 'offset', start
    try:
        millis = int(datetime.fromisoformat(start).timestamp() * 1000)
    except ValueError:
        msg = f'start={start!r}: must be "begin", "end", an offset or an ISO time'
        raise UsageError(msg) from None
    return 'id', f'{max(0, millis - 1)}-{_HIGHEST}'
