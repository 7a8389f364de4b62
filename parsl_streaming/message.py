"""Messages as a reader hands them out, and the batch they came in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

from parsl_streaming.errors import UsageError
from parsl_streaming.packing import OpenBatch
from parsl_streaming.packing import Opened
from parsl_streaming.seam import Delivery

if TYPE_CHECKING:
    from parsl_streaming.reader import Reader


class Holding:
    """A delivery in a reader's hands: which of its messages are settled.

    Attributes:
        delivery: The delivery.
        opened: Its batch in clear.
        count: Messages in it.
        settled: Bit i is set when message i is settled.
        left: Messages that are not settled.
        position: The next message to hand out.
        retries: How often each message was nacked.
        replies: Replies that have not been sent yet.
        attempts: Times a consumer began a redelivery of it, for all we know.
    """

    __slots__ = (
        'attempts',
        'count',
        'delivery',
        'left',
        'opened',
        'position',
        'replies',
        'retries',
        'settled',
    )

    def __init__(self, delivery: Delivery, opened: Opened) -> None:
        self.delivery = delivery
        self.opened = opened
        self.count = opened.header.count
        self.settled = delivery.settled & ((1 << self.count) - 1)
        self.attempts = (delivery.settled >> self.count).bit_count()
        self.left = self.count - self.settled.bit_count()
        self.position = 0
        self.retries: dict[int, int] = {}
        self.replies: OpenBatch | None = None

    @property
    def identity(self) -> tuple[str, int, int]:
        """(producer, epoch, number) of the batch."""
        batch = self.delivery.batch
        return batch.producer, batch.epoch, batch.number

    @property
    def record(self) -> int:
        """For `mark`: settled messages, and above them one bit per attempt."""
        return self.settled | ((1 << self.attempts) - 1) << self.count

    def settle(self, i: int) -> bool:
        """Settle message i; says whether it was open."""
        bit = 1 << i
        if self.settled & bit:
            return False
        self.settled |= bit
        self.left -= 1
        return True

    def deliveries(self, i: int) -> int:
        """How often message i was delivered, from 1."""
        return self.delivery.deliveries + self.retries.get(i, 0)


class Message:
    """One message, with what its sender said of it.

    By default it is acknowledged when the loop asks for the next one, and
    delivered again when the body of the loop raised.
    """

    __slots__ = ('_holding', '_i', '_reader')

    def __init__(self, reader: Reader, holding: Holding, i: int) -> None:
        self._reader = reader
        self._holding = holding
        self._i = i

    def _row(self) -> tuple[Any, ...]:
        return self._holding.opened.index.row(self._i)

    @property
    def data(self) -> memoryview:
        """The payload as it travelled, read-only and without a copy."""
        opened, i = self._holding.opened, self._i
        starts = opened.index.starts
        return opened.body[starts[i] : starts[i + 1]]

    @property
    def value(self) -> Any:
        """What was sent. Arrays and tables refer to the received bytes and are read-only.

        Raises:
            CodecError: The payload cannot be decoded.
        """
        codec, meta, _, _, _ = self._row()
        return self._reader.codecs.decode(codec, meta, self.data)

    @property
    def key(self) -> Any:
        """The sender's key, or `None`."""
        return self._row()[2]

    @property
    def headers(self) -> Mapping[str, Any]:
        """The sender's headers."""
        return self._row()[3] or {}

    @property
    def producer(self) -> str:
        """Name of the producer."""
        return self._holding.opened.header.producer

    @property
    def id(self) -> tuple[str, int, int]:
        """Identity of the message on its channel: (producer, epoch, seq)."""
        header = self._holding.opened.header
        return header.producer, header.epoch, header.seq + self._i

    @property
    def deliveries(self) -> int:
        """How often it was delivered in this group, this time included."""
        return self._holding.deliveries(self._i)

    @property
    def redelivered(self) -> bool:
        """Whether it was delivered before: a consumer died, or the message was nacked."""
        return self.deliveries > 1

    @property
    def age(self) -> float:
        """Seconds since its batch was begun, by the two hosts' clocks."""
        return time.time() - self._holding.opened.header.sent

    def ack(self) -> None:
        """The message is dealt with."""
        self._reader.settle(self._holding, self._i)

    def nack(self, delay: float = 0.0, reason: str = '') -> None:
        """Deliver the message again after `delay` seconds, in this group.

        After the channel's `max_deliveries` it goes to the dead-letter log.

        Args:
            delay: Seconds until then.
            reason: What the dead letter will say.
        """
        self._reader.retry(self._holding, self._i, delay, reason)

    def reject(self, reason: str) -> None:
        """Put the message into the channel's dead-letter log, with the reason."""
        self._reader.reject(self._holding, self._i, reason)

    def in_progress(self) -> None:
        """Keep the message from being given to another consumer: work on it goes on."""
        self._reader.extend(self._holding)

    def reply(self, value: Any) -> None:
        """Answer the sender of a request, and acknowledge the message.

        Raises:
            UsageError: The message is no request.
        """
        ref = self._row()[4]
        if ref is None:
            msg = 'only a message sent with request() on a feedback or gather channel has a reply'
            raise UsageError(msg)
        self._reader.reply(self._holding, self._i, value)

    def __repr__(self) -> str:
        producer, epoch, seq = self.id
        return f'Message(producer={producer!r}, epoch={epoch}, seq={seq}, bytes={len(self.data)})'
