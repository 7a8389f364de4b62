"""The producer's end of a channel."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from typing import Final
from typing import Protocol
from typing import Self

import msgpack
import xxhash

from parsl_streaming.codecs import Codecs
from parsl_streaming.errors import ChannelClosed
from parsl_streaming.errors import ChannelFull
from parsl_streaming.errors import CodecError
from parsl_streaming.errors import MessageTooLarge
from parsl_streaming.errors import StreamingError
from parsl_streaming.errors import UsageError
from parsl_streaming.outbox import Outbox
from parsl_streaming.packing import Packer
from parsl_streaming.packing import Unpacker
from parsl_streaming.replies import PendingReplies
from parsl_streaming.replies import Reply
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Flag
from parsl_streaming.seam import LinkWriter
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Pattern
from parsl_streaming.statistics import WriterStatistics

_POLL: Final = 0.1


class WriterAttendance(Protocol):
    """The writer's place in the channel's membership."""

    def groups(self) -> list[str]:
        """The reader groups of the channel."""

    def wake(self) -> None:
        """Something waits: look after the writer often, until it says that nothing does."""

    def leave(self, statistics: WriterStatistics, end: Batch | None) -> None:
        """The writer is done; `end` is its END batch, for readers that come later."""


class Writer:
    """The producer's end of a channel: `send`, `request`, `flush`, `close`.

    Safe to use from several threads. The `@streaming` decorator and
    `parsl_streaming.writer` make it; as a context manager it closes itself, and
    aborts the stream when the body raised.
    """

    def __init__(
        self,
        channel: ChannelSpec,
        link: LinkWriter,
        packer: Packer,
        unpacker: Unpacker,
        attendance: WriterAttendance,
    ) -> None:
        self.channel = channel
        self._attendance = attendance
        self._codecs = Codecs(channel.name, pickle=channel.pickle)
        self._lock = threading.RLock()
        self._link = link
        self._outbox = Outbox(channel, link, packer)
        gather = channel.pattern is Pattern.GATHER
        self._replies = PendingReplies(self._codecs, unpacker, gather=gather)
        self._groups_known = not channel.pattern.is_broadcast
        self._is_keyed = channel.pattern is Pattern.SHUFFLE
        self._patience = channel.timeout
        self._most_bytes = channel.max_message_bytes
        self._attended = False
        self._closed = False
        self._failure: StreamingError | None = None

    def send(
        self,
        value: Any,
        *,
        key: Any = None,
        headers: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Send a value; returns when the channel's credit has accepted it.

        Args:
            value: bytes, a numpy array, an Arrow table or batch, or any msgpack
                value (anything, on a channel that declares `pickle`).
            key: Partitions a shuffle channel; else the reader's to use.
            headers: Small msgpack values that travel beside the value.
            timeout: Longest wait for credit in seconds; default: the channel's.

        Raises:
            ChannelFull: No credit within the timeout; the value was not accepted.
            CodecError: The value cannot be encoded.
            MessageTooLarge: It exceeds the channel's `max_message_bytes`.
            ChannelClosed: This writer is closed.
            ProducerFenced: A newer writer took over this producer's name.
        """
        with self._lock:
            self._accept(value, key, headers, None, timeout)

    def request(
        self,
        value: Any,
        *,
        key: Any = None,
        headers: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """Send a value that its reader answers with `message.reply`.

        Returns:
            A future of the reply; of the list of every reader's reply on a gather channel.

        Raises:
            UsageError: The channel's pattern has no replies.
            StreamingError: As `send`.
        """
        if not self.channel.pattern.has_replies:
            msg = (
                f'channel {self.channel.name!r}: request() needs pattern = "feedback" or "gather", '
                f'not "{self.channel.pattern}"'
            )
            raise UsageError(msg)
        with self._lock:
            seq = self._accept(value, key, headers, 1, timeout)
            reply = Reply(self._wait_for_traffic)
            self._replies.expect(seq, reply, len(self._attendance.groups()))
            return reply

    def _accept(
        self,
        value: Any,
        key: Any,
        headers: Mapping[str, Any] | None,
        ref: int | None,
        timeout: float | None,
    ) -> int:
        codec, meta, data = self._codecs.encode(value)
        if key is not None or headers is not None:
            key, headers = self._fixed(key, headers)
        if self._closed or self._failure or len(data) > self._most_bytes:
            self._refuse(len(data))
        limit = time.monotonic() + (self._patience if timeout is None else timeout)
        if not self._groups_known:
            self._await_groups(limit)
        partition = self._partition(key) if self._is_keyed else 0
        seq = self._outbox.add(partition, data, (codec, meta, key, headers, ref), limit)
        if not self._attended and self._outbox.waiting:
            self._attended = True
            self._attendance.wake()
        return seq

    def _fixed(self, key: Any, headers: Mapping[str, Any] | None) -> list[Any]:
        """Key and headers as they will arrive; what the sender does to them later is too late."""
        try:
            fixed: list[Any] = msgpack.unpackb(msgpack.packb([key, headers]), strict_map_key=False)
        except (TypeError, ValueError, OverflowError) as error:
            msg = (
                f'channel {self.channel.name!r}: key and headers cannot be sent ({error}); they '
                'are small msgpack values: numbers, text, bytes, lists and dictionaries of them'
            )
            raise CodecError(msg) from error
        return fixed

    def _refuse(self, size: int) -> None:
        name = self.channel.name
        if self._failure:
            raise self._failure
        if self._closed:
            msg = f'channel {name!r}: this writer is closed; open another to send more'
            raise ChannelClosed(msg)
        msg = (
            f'channel {name!r}: a message of {size:,} bytes exceeds max_message = '
            f'{self.channel.max_message_bytes:,} bytes; send it in parts or raise the limit'
        )
        raise MessageTooLarge(msg)

    def _partition(self, key: Any) -> int:
        if key is None:
            msg = f'channel {self.channel.name!r} is shuffled by key: send(value, key=...)'
            raise UsageError(msg)
        digest: int = xxhash.xxh3_64_intdigest(msgpack.packb(key))
        return digest % self.channel.partitions

    def _await_groups(self, limit: float) -> None:
        """A broadcast starts when its readers are known: later ones would miss the beginning."""
        wanted = self.channel.readers or 1
        while (known := len(self._attendance.groups())) < wanted:
            if time.monotonic() >= limit:
                msg = (
                    f'channel {self.channel.name!r}: {known} of {wanted} readers are known; start '
                    'the readers of a broadcast before its writers, or correct readers = '
                )
                raise ChannelFull(msg)
            self._link.pump(min(_POLL, max(0.0, limit - time.monotonic())))
        self._groups_known = True

    def _deadline(self, timeout: float | None) -> float:
        return time.monotonic() + (self._patience if timeout is None else timeout)

    def _advance(self, *, everything: bool) -> None:
        self._outbox.advance(everything=everything)
        if self.channel.pattern.has_replies:
            for batch in self._link.replies():
                self._replies.receive(batch)

    def _wait_for_traffic(self, wait: float) -> None:
        """What a thread that waits for a reply does meanwhile."""
        with self._lock:
            if not self._closed:
                self._advance(everything=True)
        with self._lock:
            if not self._closed and len(self._replies):
                self._link.pump(wait)
                self._advance(everything=True)

    def position(self) -> int:
        """How many messages were accepted: a mark for `is_safe`."""
        return self._outbox.statistics.messages

    def is_safe(self, position: int) -> bool:
        """Whether the first `position` messages are safe, as the durability means it."""
        with self._lock:
            if not self._closed and not self._outbox.is_safe(position):
                self._advance(everything=True)
            return self._closed or self._outbox.is_safe(position)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything sent is safe, as the channel's durability means it.

        Args:
            timeout: Longest wait in seconds; default: the channel's.

        Raises:
            ChannelTimeout: Not within the timeout; nothing is lost, flush again.
        """
        with self._lock:
            if self._failure:
                raise self._failure
            if not self._closed:
                self._outbox.flush(self._deadline(timeout))

    def close(self, timeout: float | None = None) -> None:
        """Flush, end the stream, and free the end. Closing twice does nothing.

        Raises:
            ChannelTimeout: Not everything was acknowledged in time.
        """
        self._finish(timeout, Flag.END, '')

    def abort(self, reason: str, *, retry: bool = False) -> None:
        """End the stream as failed: readers get what was sent, then `ChannelAborted`.

        Args:
            reason: What the readers are told.
            retry: Another epoch of this producer may follow; readers wait for it.
        """
        flags = Flag.ABORT | Flag.RETRY if retry else Flag.ABORT
        try:
            self._finish(min(self.channel.lease, self.channel.timeout), flags, reason)
        except StreamingError:
            # The failure that led here matters more than this one, and readers
            # learn of a writer that left without END.
            return

    def _finish(self, timeout: float | None, flags: Flag, reason: str) -> None:
        with self._lock:
            if self._closed:
                return
            limit = self._deadline(timeout)
            end: Batch | None = None
            try:
                if self._failure is None:
                    end = self._end(flags, reason, limit)
            finally:
                self._shut(end)

    def _end(self, flags: Flag, reason: str, limit: float) -> Batch:
        self._outbox.flush(limit)
        end = self._outbox.packer.pack_end(flags, reason)
        self._link.write(end, max(0.0, limit - time.monotonic()))
        self._outbox.flush(limit)
        return end

    def _shut(self, end: Batch | None) -> None:
        self._closed = True
        self._replies.fail(f'channel {self.channel.name!r}: the writer was closed')
        final = self.statistics()
        self._link.close()
        self._attendance.leave(final, end)

    def tick(self) -> bool:
        """Look after the end in the background; says whether work is waiting."""
        if not self._lock.acquire(blocking=False):
            return not self._closed
        try:
            if self._closed:
                return False
            self._advance(everything=self._outbox.overdue())
        except StreamingError as error:
            self._failure = error
            return False
        else:
            self._attended = self._outbox.busy or len(self._replies) > 0
            return self._attended
        finally:
            self._lock.release()

    def fail(self, error: StreamingError) -> None:
        """Raise this error from every further call."""
        self._failure = error

    def statistics(self) -> WriterStatistics:
        """The counters so far."""
        counters = self._outbox.statistics
        counters.replies = self._replies.received
        counters.redelivered = self._link.statistics().get('redelivered', 0)
        return counters

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
            self.abort(f'{type(error).__name__}: {error}')

    def __repr__(self) -> str:
        return f'Writer(channel={self.channel.name!r}, messages={self._outbox.statistics.messages})'
