"""The producer's end: idempotent, fenced appends, one window of them at a time."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from typing import Final
from typing import NoReturn

from parsl_streaming.errors import BrokerDataLost
from parsl_streaming.errors import ChannelClosed
from parsl_streaming.errors import ChannelFull
from parsl_streaming.errors import ProducerFenced
from parsl_streaming.errors import StreamingError
from parsl_streaming.seam import Batch
from parsl_streaming.seam import EndContext
from parsl_streaming.seam import Flag
from parsl_streaming.seam import Room
from parsl_streaming_mss.access import Access
from parsl_streaming_mss.credit import Amount
from parsl_streaming_mss.credit import Ledger
from parsl_streaming_mss.entry import LAST_ID
from parsl_streaming_mss.entry import add_command
from parsl_streaming_mss.entry import end_value
from parsl_streaming_mss.entry import pairs
from parsl_streaming_mss.errors import FULL
from parsl_streaming_mss.errors import broker_error
from parsl_streaming_mss.inbox import Inbox
from parsl_streaming_mss.line import Line
from parsl_streaming_mss.line import ignore
from parsl_streaming_mss.opening import open_streams
from parsl_streaming_mss.resp import SMALL_BUFFER
from parsl_streaming_mss.resp import Argument
from parsl_streaming_mss.resp import ErrorReply

WINDOW_BYTES: Final = 2 << 20
WINDOW_BATCHES: Final = 32
LONGEST_WAIT: Final = 0.1
_FRESH: Final = 0.001
"""Seconds for which what the broker said of the credit is news enough for a passing look."""
_FIRST_PAUSE: Final = 0.001
_LAST_PAUSE: Final = 0.02
_LAST_RETRY: Final = 0.5


@dataclass(slots=True)
class _Item:
    batch: Batch
    stream: str
    entry_id: str

    @property
    def is_end(self) -> bool:
        return Flag.END in self.batch.flags


class ManagedWriter:
    """Appends the batches of one producer's incarnation.

    A window of batches is one transaction: all of it is stored, or nothing. The
    next one leaves when it is answered, so a refusal reorders nothing. Ids are
    fixed, so sending a window again after a lost connection stores nothing twice.

    Args:
        end: What to open.
        access: The channel's place in the broker.

    Raises:
        ProducerFenced: A newer epoch of this producer is open.
        StreamingError: The broker cannot be used.
    """

    def __init__(self, end: EndContext, access: Access) -> None:
        self._end = end
        self._access = access
        self._ledger = Ledger()
        self._queue: list[_Item] = []
        self._queued_bytes = 0
        self._window: list[_Item] = []
        self._in_flight = False
        self._refusal: ErrorReply | None = None
        self._retry_at = 0.0
        self._pause = _FIRST_PAUSE
        self._failure: StreamingError | None = None
        self._millis = 0
        self._asked_at = 0.0
        self._groups: set[str] = set()
        self._events = 0
        self._safe = 0
        self._redelivered = 0
        self._tops: dict[str, str] = {}
        self._streams = [
            access.keys.stream(partition, end.name, end.epoch)
            for partition in range(max(1, end.channel.partitions))
        ]
        self._counters = access.keys.counters(end.name, end.epoch)
        self._line = Line(access.endpoint, self._restore, buffer_bytes=SMALL_BUFFER)
        try:
            open_streams(self._line, access, end, self._streams)
            self._inbox = self._open_inbox()
        except BaseException:
            self._line.close()
            raise
        self._make_groups()

    def _open_inbox(self) -> Inbox | None:
        if not self._end.channel.pattern.has_replies:
            return None
        return Inbox(self._access, self._end.name, self._end.epoch)

    @property
    def safe(self) -> int:
        """Every batch up to this number is stored in the broker."""
        return self._safe

    @property
    def floor(self) -> int:
        """Every batch with a lower number is settled by every group."""
        return self._ledger.floor

    def room(self) -> Room:
        """What the channel's credit leaves; `idle` if there are readers without a batch."""
        channel, used = self._end.channel, self._ledger.in_flight
        return Room(
            max(0, channel.credit_messages - used.messages),
            max(0, channel.credit_bytes - used.nbytes),
            idle=used.batches < self._readers(),
        )

    def _readers(self) -> int:
        """Readers of the smallest group, at least one."""
        groups = [member.group for member in self._end.rendezvous.view.of('reader')]
        return min((groups.count(group) for group in set(groups)), default=1)

    def write(self, batch: Batch, timeout: float) -> None:
        """Take a batch; returns at once while the window and the credit have room.

        Raises:
            ChannelFull: No room within the timeout; the batch was not taken.
            ProducerFenced: A newer epoch of this producer is open.
            BrokerDataLost: The broker lost the stream.
        """
        deadline = time.monotonic() + timeout
        self._turn(0.0)
        while not self._fits(batch):
            left = deadline - time.monotonic()
            if left <= 0:
                raise ChannelFull(self._why_full(timeout))
            self.pump(min(left, LONGEST_WAIT))
        self._take(batch)
        self._turn(0.0)

    def _fits(self, batch: Batch) -> bool:
        full = len(self._queue) >= WINDOW_BATCHES or self._queued_bytes >= WINDOW_BYTES
        if full or Flag.END in batch.flags:
            return not full
        used, channel = self._ledger.in_flight, self._end.channel
        return not used.batches or (
            used.messages + batch.count <= channel.credit_messages
            and used.nbytes + batch.nbytes <= channel.credit_bytes
        )

    def _why_full(self, timeout: float) -> str:
        where = f'channel {self._end.channel.name!r}: not written within {timeout:g} s'
        if self._refusal:
            why = f'the broker at {self._line.endpoint} is full ({self._refusal.text})'
            return f'{where}: {why}; give it more memory or disk, or read faster'
        return f'{where}: the readers have not settled what is stored; start more readers'

    def _take(self, batch: Batch) -> None:
        self._millis = max(self._millis, time.time_ns() // 1_000_000)
        stream = self._streams[batch.partition]
        self._queue.append(_Item(batch, stream, f'{self._millis}-{batch.number}'))
        self._queued_bytes += batch.nbytes
        if Flag.END not in batch.flags:
            amount = Amount(1, batch.count, batch.nbytes)
            self._ledger.wrote(batch.partition, batch.number, amount)

    def _turn(self, timeout: float) -> None:
        """Send what may leave, and handle what came."""
        if self._failure:
            raise self._failure
        self._launch()
        if self._line.exchange(timeout) and not self._in_flight:
            self._launch()
            self._line.exchange(0.0)

    def _launch(self) -> None:
        if self._in_flight or time.monotonic() < self._retry_at:
            return
        if not self._window:
            self._window, self._queue, self._queued_bytes = self._queue, [], 0
        if self._window:
            self._make_groups()
            self._send_window()

    def _make_groups(self) -> None:
        """Every declared group gets its place before anything else is stored."""
        for group in set(self._end.rendezvous.view.groups) - self._groups:
            for stream in self._streams:
                self._line.add(self._on_group, ['XGROUP', 'CREATE', stream, group, '0'])
            self._groups.add(group)

    def _on_group(self, reply: Any) -> None:
        if isinstance(reply, ErrorReply) and reply.code != 'BUSYGROUP':
            if 'key to exist' in reply.text:
                self._fail(self._data_lost())
            self._fail(broker_error(reply, f'making a group at {self._line.endpoint}'))

    def _send_window(self) -> None:
        self._in_flight, self._refusal = True, None
        self._line.add(self._on_queued, ['MULTI'])
        for item in self._window:
            self._line.add(self._on_queued, self._command(item))
        self._line.add(self._on_executed, ['EXEC'])
        self._ask_state()

    def _command(self, item: _Item) -> list[Argument]:
        if not item.is_end:
            # Without NOMKSTREAM a lost stream would be made again, empty, and nobody would know.
            return add_command(item.stream, item.entry_id, item.batch, 'NOMKSTREAM')
        field = f'{self._end.name}:{self._end.epoch}'
        keys = [self._streams[0], self._access.keys.ends]
        return self._access.scripts.call('finish', keys, [field, end_value(item.batch)])

    def _on_queued(self, reply: Any) -> None:
        if isinstance(reply, ErrorReply):
            self._refusal = self._refusal or reply

    def _on_executed(self, reply: Any) -> None:
        if isinstance(reply, ErrorReply):
            self._on_refused(self._refusal or reply)
            return
        doubtful = None
        for item, answer in zip(self._window, reply, strict=True):
            if answer is None:
                self._fail(self._data_lost())
            if isinstance(answer, ErrorReply):
                if 'smaller' not in answer.text:
                    self._fail(self._meaning(answer))
                doubtful = item
        if doubtful is None:
            self._confirm()
        else:
            self._line.add(self._on_top, ['XINFO', 'STREAM', doubtful.stream])

    def _on_refused(self, refusal: ErrorReply) -> None:
        if refusal.code not in FULL:
            self._fail(self._meaning(refusal))
        self._refusal = refusal
        self._in_flight = False
        self._retry_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LAST_RETRY)

    def _on_top(self, reply: Any) -> None:
        """An id was refused: either it is stored already, or this incarnation is fenced."""
        if isinstance(reply, ErrorReply):
            self._fail(self._data_lost())
        if pairs(reply)[b'last-generated-id'] == LAST_ID.encode():
            self._fail(self._fenced())
        self._confirm()

    def _confirm(self) -> None:
        for item in self._window:
            if not item.is_end:
                self._tops[item.stream] = item.entry_id
        self._safe = self._window[-1].batch.number
        self._window, self._in_flight = [], False
        self._retry_at, self._pause = 0.0, _FIRST_PAUSE
        self._events += 1

    def _meaning(self, reply: ErrorReply) -> StreamingError:
        if reply.code == 'FENCED' or 'exhausted' in reply.text:
            return self._fenced()
        return broker_error(reply, f'writing to the broker at {self._line.endpoint}')

    def _fenced(self) -> ProducerFenced:
        return ProducerFenced(
            f'producer {self._end.name!r} of channel {self._end.channel.name!r}: a writer with an '
            f'epoch above {self._end.epoch} took over; this one must stop'
        )

    def _data_lost(self) -> BrokerDataLost:
        return BrokerDataLost(
            f'channel {self._end.channel.name!r}: the broker at {self._line.endpoint} no longer '
            f'has what producer {self._end.name!r} stored: it was emptied, restarted without its '
            f'data, or the channel was released; start the stream again'
        )

    def _fail(self, error: StreamingError) -> NoReturn:
        self._failure = error
        raise error

    def _ask_state(self) -> None:
        self._asked_at = time.monotonic()
        keys = [self._counters, *self._streams]
        self._line.add(self._on_state, self._access.scripts.call('state', keys, []))

    def _on_state(self, reply: Any) -> None:
        if isinstance(reply, ErrorReply):
            lost = reply.code == 'NOGROUP'
            self._fail(self._data_lost() if lost else self._meaning(reply))
        before = self._ledger.in_flight
        totals, floors = pairs(reply[0]), reply[1:]
        for partition, floor in enumerate(floors):
            self._ledger.settled_below(partition, floor)
        self._ledger.settled_by(sorted(self._groups), _totals(totals))
        self._redelivered = int(totals.get(b'redelivered', 0))
        self._events += self._ledger.in_flight != before

    def pump(self, timeout: float, *, waiting: bool = False) -> None:
        """Handle answers, credit and replies.

        Args:
            timeout: Longest wait in seconds (at most 0.1) for one of them.
            waiting: Of no use here: credit is what the broker says is settled.
        """
        deadline = time.monotonic() + min(timeout, LONGEST_WAIT)
        seen, pause = self._events, _FIRST_PAUSE
        while True:
            stale = timeout > 0 or time.monotonic() - self._asked_at > _FRESH
            if stale and not self._line.busy and self._ledger.in_flight.batches:
                self._ask_state()
            left = max(0.0, deadline - time.monotonic())
            self._turn(left if self._line.busy else 0.0)
            arrived = self._inbox is not None and self._inbox.pump(min(left, pause))
            left = deadline - time.monotonic()
            if arrived or self._events != seen or left <= 0:
                return
            if self._inbox is None:
                time.sleep(min(left, pause))
            pause = min(2 * pause, _LAST_PAUSE)

    def replies(self) -> list[Batch]:
        """Reply batches that came since the last call."""
        return self._inbox.take() if self._inbox else []

    def _restore(self) -> None:
        """After a new connection: nothing confirmed may be missing; then the window again."""
        for stream, top in self._tops.items():
            self._line.add(partial(self._check_top, top), _info(stream))
        if not self._access.scripts.functions:
            for command in self._access.scripts.load():
                self._line.add(ignore, command)
        self._groups.clear()
        self._make_groups()
        if self._in_flight:
            self._send_window()

    def _check_top(self, top: str, reply: Any) -> None:
        if isinstance(reply, ErrorReply):
            self._fail(self._data_lost())
        if _parts(bytes(pairs(reply)[b'last-generated-id']).decode()) < _parts(top):
            self._fail(self._data_lost())

    def statistics(self) -> dict[str, int]:
        """Counters: `redelivered` batches, `reconnections` of this end."""
        return {'redelivered': self._redelivered, 'reconnections': self._line.reconnections}

    def close(self) -> None:
        """Free every resource at once; idempotent."""
        self._line.close()
        if self._inbox:
            self._inbox.close()
        self._failure = self._failure or ChannelClosed(
            f'the writer {self._end.name!r} of channel {self._end.channel.name!r} is closed'
        )


def _info(stream: str) -> list[Argument]:
    return ['XINFO', 'STREAM', stream]


def _parts(entry_id: str) -> tuple[int, int]:
    millis, _, number = entry_id.partition('-')
    return int(millis), int(number)


def _totals(counters: dict[bytes, Any]) -> dict[str, Amount]:
    """What each group has settled: fields `n:`, `m:` and `b:`, each followed by its name."""
    groups = [field[2:] for field in counters if field.startswith(b'n:')]
    result = {}
    with suppress(UnicodeDecodeError):
        for group in groups:
            values = [int(counters.get(kind + group, 0)) for kind in (b'n:', b'm:', b'b:')]
            result[group.decode()] = Amount(*values)
    return result
