"""The consumer's end of a channel."""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Iterator
from collections.abc import Sequence
from types import TracebackType
from typing import Any
from typing import Final
from typing import Protocol
from typing import Self

from parsl_streaming.codecs import Codecs
from parsl_streaming.errors import ChannelClosed
from parsl_streaming.errors import ChannelTimeout
from parsl_streaming.errors import EndOfStream
from parsl_streaming.errors import MessageTooLarge
from parsl_streaming.errors import StreamingError
from parsl_streaming.inbox import Inbox
from parsl_streaming.message import Holding
from parsl_streaming.message import Message
from parsl_streaming.packing import OpenBatch
from parsl_streaming.packing import Packer
from parsl_streaming.packing import Unpacker
from parsl_streaming.seam import Flag
from parsl_streaming.seam import LinkReader
from parsl_streaming.seam import View
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.statistics import ReaderStatistics

_POLL: Final = 0.1
_POLL_OUTPUTS: Final = 0.002
"""Shorter, while acknowledgements wait for this task's own outputs to be safe."""


class ReaderAttendance(Protocol):
    """The reader's place in the channel's membership."""

    @property
    def view(self) -> View:
        """Who is on the channel."""

    def leave(self, statistics: ReaderStatistics, *, lost: bool = False) -> None:
        """The reader is done; if `lost`, another may come under its name."""


class Output(Protocol):
    """A writer of the same task: what is read is acknowledged after what it led to is safe."""

    def position(self) -> int:
        """How many messages were accepted."""

    def is_safe(self, position: int) -> bool:
        """Whether so many messages are safe."""

    def flush(self) -> None:
        """Wait until everything is safe."""


class Reader:
    """The consumer's end of a channel: a loop over its messages.

    A message is acknowledged when the loop asks for the next one, unless its
    `ack`, `nack`, `reject` or `reply` settled it before. Closing normally
    acknowledges the last one handed out; leaving with an exception gives it
    back, and it is delivered again. Messages are handed out to one thread at a
    time; they may be settled from any thread.

    Args:
        manual: Acknowledge nothing by itself; the program calls `ack`.
        outputs: Writers of the same task. A message is acknowledged to its
            sender after everything sent to them before that is safe.
    """

    def __init__(
        self,
        channel: ChannelSpec,
        link: LinkReader,
        packer: Packer,
        unpacker: Unpacker,
        attendance: ReaderAttendance,
        *,
        manual: bool = False,
        outputs: Sequence[Output] = (),
    ) -> None:
        self.channel = channel
        self.codecs = Codecs(channel.name, pickle=channel.pickle)
        self.outputs = outputs
        self._manual = manual
        self._answers = channel.pattern.has_replies
        self._link = link
        self._packer = packer
        self._attendance = attendance
        self._inbox = Inbox(channel, link, unpacker)
        self._lock = threading.RLock()
        self._holding: Holding | None = None
        self._last: tuple[Holding, int] | None = None
        self._retries: list[tuple[float, int, Holding, int]] = []
        self._retried = 0
        self._deferred: deque[tuple[Holding, list[int]]] = deque()
        self._closed = False
        self._failure: StreamingError | None = None

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        try:
            return self.receive(self.channel.timeout)
        except EndOfStream:
            raise StopIteration from None

    def receive(self, timeout: float | None = None) -> Message:
        """The next message.

        Args:
            timeout: Longest wait in seconds; default: the channel's.

        Raises:
            EndOfStream: Every declared writer has ended.
            ChannelAborted: A writer failed for good.
            ChannelTimeout: Nothing came within the timeout.
            ChannelClosed: This reader is closed.
        """
        self._settle_last()
        holding = self._holding
        if holding is not None and not self._retries:
            i = holding.position
            if i < holding.count and not holding.settled >> i & 1:
                holding.position = i + 1
                return self._hand_out(holding, i)
        with self._lock:
            return self._wait(self.channel.timeout if timeout is None else timeout)

    def _settle_last(self) -> None:
        last = self._last
        if last is not None:
            self._last = None
            if not self._manual:
                self.settle(*last)

    def _hand_out(self, holding: Holding, i: int) -> Message:
        self._last = (holding, i)
        return Message(self, holding, i)

    def _wait(self, timeout: float) -> Message:
        limit = time.monotonic() + timeout
        while True:
            if self._closed or self._failure:
                self._refuse()
            if (message := self._at_hand()) is not None:
                return message
            self._acknowledge_deferred()
            holding = self._inbox.fetch(max(0.0, self._pause(limit)))
            if holding is not None:
                self._holding = holding
                self._begin(holding)
            elif self._finished():
                msg = f'channel {self.channel.name!r}: every writer has ended'
                raise EndOfStream(msg)
            elif time.monotonic() >= limit:
                msg = (
                    f'channel {self.channel.name!r}: no message within {timeout:g} s; are its '
                    'writers running? (the reader may go on)'
                )
                raise ChannelTimeout(msg)

    def _refuse(self) -> None:
        if self._failure:
            raise self._failure
        msg = f'channel {self.channel.name!r}: this reader is closed; open another to read on'
        raise ChannelClosed(msg)

    def _pause(self, limit: float) -> float:
        now = time.monotonic()
        pause = min(_POLL, limit - now)
        if self._retries:
            pause = min(pause, self._retries[0][0] - now)
        return min(pause, _POLL_OUTPUTS) if self._deferred else pause

    def _finished(self) -> bool:
        idle = not self._inbox.holdings and not self._deferred
        return idle and self._inbox.has_ended(self._attendance.view)

    def _at_hand(self) -> Message | None:
        """A message that is due for another try, or the next of the current batch."""
        if self._retries and self._retries[0][0] <= time.monotonic():
            _, _, holding, i = heapq.heappop(self._retries)
            return self._hand_out(holding, i)
        return self._next_of(self._holding)

    def _next_of(self, holding: Holding | None) -> Message | None:
        while holding is not None and holding.position < holding.count:
            i = holding.position
            holding.position += 1
            if not holding.settled >> i & 1:
                return self._hand_out(holding, i)
        return None

    def _begin(self, holding: Holding) -> None:
        """Before the first message of a redelivered batch: note the attempt, stop a poison."""
        if holding.delivery.deliveries == 1:
            return
        if holding.attempts + 1 >= self.channel.max_deliveries and holding.left:
            culprit = (~holding.settled & (holding.settled + 1)).bit_length() - 1
            holding.attempts = 0
            count = holding.delivery.deliveries - 1
            self.reject(holding, culprit, f'its consumer failed in each of {count} deliveries')
        if holding.left == 0:
            self._complete(holding)
            return
        holding.attempts += 1
        self._link.mark(holding.delivery, holding.record)

    def settle(self, holding: Holding, i: int) -> None:
        """Acknowledge message i of a holding; does nothing the second time."""
        if self._answers:
            self._answer(holding, i, None, 'the reader acknowledged the request without a reply')
        self._settled(holding, i)

    def _settled(self, holding: Holding, i: int) -> None:
        if self._last is not None and self._last == (holding, i):
            self._last = None
        if not holding.settle(i):
            return
        self._inbox.statistics.acknowledged += 1
        if holding.left == 0:
            self._complete(holding)
        elif holding.delivery.deliveries > 1:
            self._mark(holding)

    def _mark(self, holding: Holding) -> None:
        with self._lock:
            for output in self.outputs:
                output.flush()
            if not self._closed:
                self._link.mark(holding.delivery, holding.record)

    def _complete(self, holding: Holding) -> None:
        with self._lock:
            if self._closed:
                return
            self._send_replies(holding)
            self._deferred.append((holding, [output.position() for output in self.outputs]))
            self._acknowledge_deferred()

    def _acknowledge_deferred(self) -> None:
        """Acknowledge in order what is complete and whose outputs are safe."""
        while self._deferred:
            holding, positions = self._deferred[0]
            pairs = zip(self.outputs, positions, strict=False)
            if not all(output.is_safe(position) for output, position in pairs):
                return
            self._deferred.popleft()
            self._inbox.done(holding)
            self._link.acknowledge(holding.delivery)

    def retry(self, holding: Holding, i: int, delay: float, reason: str) -> None:
        """Deliver message i again after `delay` seconds, or bury it after too many times."""
        with self._lock:
            if holding.settled >> i & 1 or self._closed:
                return
            if self._last == (holding, i):
                self._last = None
            tries = holding.retries.get(i, 0) + 1
            if tries + holding.attempts >= self.channel.max_deliveries:
                self.reject(holding, i, reason or f'nacked {tries} times')
                return
            holding.retries[i] = tries
            self._retried += 1
            self._inbox.statistics.redelivered += 1
            due = time.monotonic() + delay
            heapq.heappush(self._retries, (due, self._retried, holding, i))

    def reject(self, holding: Holding, i: int, reason: str) -> None:
        """Bury message i of a holding in the dead-letter log."""
        with self._lock:
            if holding.settled >> i & 1 or self._closed:
                return
            codec, meta, key, headers, _ = holding.opened.index.row(i)
            header = holding.opened.header
            origin = [header.producer, header.epoch, header.seq + i, holding.deliveries(i), reason]
            letter = OpenBatch()
            starts = holding.opened.starts
            letter.add(
                holding.opened.body[starts[i] : starts[i + 1]], (codec, meta, key, headers, origin)
            )
            self._link.bury(holding.delivery, self._packer.pack(letter, flags=Flag.DEAD))
            self._inbox.statistics.dead_letters += 1
            self._answer(holding, i, None, reason)
            self._settled(holding, i)

    def extend(self, holding: Holding) -> None:
        """Tell the link that work on a holding goes on."""
        with self._lock:
            if not self._closed:
                self._link.extend(holding.delivery)

    def reply(self, holding: Holding, i: int, value: Any) -> None:
        """Answer message i of a holding, and acknowledge it."""
        self._answer(holding, i, value, None)
        self._settled(holding, i)

    def _answer(self, holding: Holding, i: int, value: Any, error: str | None) -> None:
        if holding.settled >> i & 1 or holding.opened.index.row(i)[4] is None:
            return
        codec, meta, data = self.codecs.encode(value)
        headers = None if error is None else {'error': error}
        seq = holding.opened.header.seq + i
        if len(data) > self.channel.max_message_bytes:
            msg = (
                f'channel {self.channel.name!r}: a reply of {len(data):,} bytes exceeds '
                f'max_message = {self.channel.max_message_bytes:,} bytes'
            )
            raise MessageTooLarge(msg)
        with self._lock:
            if holding.replies and holding.replies.nbytes + len(data) > self.channel.batch_bytes:
                self._send_replies(holding)
            if holding.replies is None:
                holding.replies = OpenBatch()
            holding.replies.add(data, (codec, meta, None, headers, seq))
            if time.monotonic() - holding.replies.opened > self.channel.linger:
                self._send_replies(holding)

    def _send_replies(self, holding: Holding) -> None:
        if holding.replies is not None:
            batch = self._packer.pack(holding.replies, flags=Flag.REPLY)
            holding.replies = None
            self._link.reply(holding.delivery, batch)

    def receive_many(self, most: int, timeout: float | None = None) -> list[Message]:
        """At least one message, and as many more as came in the same batch.

        Args:
            most: At most so many messages.
            timeout: As `receive`.

        Raises:
            StreamingError: As `receive`.
        """
        messages = [self.receive(timeout)]
        with self._lock:
            while len(messages) < most and (message := self._at_hand()) is not None:
                messages.append(message)
        return messages

    def close(self) -> None:
        """Acknowledge the last message, give back what was not handed out, free the end."""
        self._settle_last()
        with self._lock:
            if self._closed:
                return
            try:
                for output in self.outputs if self._deferred else ():
                    output.flush()
                self._acknowledge_deferred()
            finally:
                self._shut()

    def abandon(self, *, retry: bool = False) -> None:
        """Close after a failure: what is not safely dealt with is delivered again elsewhere.

        Args:
            retry: The task may be tried again; its share of a broadcast waits for that.
        """
        with self._lock:
            if not self._closed:
                self._last = None
                self._shut(lost=retry)

    def _shut(self, *, lost: bool = False) -> None:
        for holding, _ in self._deferred:
            self._inbox.done(holding)
            self._link.release(holding.delivery, holding.record & ~holding.settled)
        for holding in list(self._inbox.holdings.values()):
            self._send_replies(holding)
            self._inbox.give_back(holding)
        self._closed = True
        self._link.close()
        self._attendance.leave(self._inbox.statistics, lost=lost)

    def tick(self) -> bool:
        """Look after the end in the background; says whether work is waiting."""
        if not self._lock.acquire(blocking=False):
            return not self._closed
        try:
            if self._closed:
                return False
            flowing = self._link.pump()
            self._acknowledge_deferred()
            return flowing or bool(self._deferred)
        except StreamingError as error:
            self._failure = error
            return False
        finally:
            self._lock.release()

    def fail(self, error: StreamingError) -> None:
        """Raise this error from every further call."""
        self._failure = error

    def statistics(self) -> ReaderStatistics:
        """The counters so far."""
        return self._inbox.statistics

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    def __repr__(self) -> str:
        return f'Reader(channel={self.channel.name!r}, messages={self.statistics().messages})'
