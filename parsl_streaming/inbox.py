"""The reader's inbox: verified batches, each once, and which producers have ended."""

from __future__ import annotations

import time

from parsl_streaming.dedup import Deduplicator
from parsl_streaming.errors import ChannelAborted
from parsl_streaming.errors import IntegrityError
from parsl_streaming.message import Holding
from parsl_streaming.packing import Opened
from parsl_streaming.packing import Unpacker
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Delivery
from parsl_streaming.seam import Flag
from parsl_streaming.seam import LinkReader
from parsl_streaming.seam import View
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.statistics import ReaderStatistics


class Inbox:
    """Turns what a link delivers into holdings.

    Args:
        channel: The channel.
        link: Where batches come from.
        unpacker: Verifies and opens them.
    """

    def __init__(self, channel: ChannelSpec, link: LinkReader, unpacker: Unpacker) -> None:
        self.statistics = ReaderStatistics()
        self.holdings: dict[tuple[str, int, int], Holding] = {}
        self._channel = channel
        self._link = link
        self._unpacker = unpacker
        self._seen = Deduplicator()
        self._ended: dict[str, int] = {}

    def fetch(self, timeout: float) -> Holding | None:
        """The next new batch; `None` when nothing came, or something that is no news.

        Raises:
            ChannelAborted: A producer failed for good.
        """
        delivery = self._link.read(timeout)
        if delivery is None:
            return None
        try:
            opened = self._unpacker.open(delivery.batch)
        except IntegrityError:
            self._discard(delivery)
            return None
        if Flag.END in opened.header.flags:
            self._end(delivery.batch, bytes(opened.body).decode(errors='replace'))
            return None
        return self._take(delivery, opened)

    def _discard(self, delivery: Delivery) -> None:
        """Ask for a damaged batch again; give up on it after the channel's deliveries."""
        self.statistics.damaged += 1
        if delivery.batch.flags & Flag.END or delivery.deliveries < self._channel.max_deliveries:
            self._link.release(delivery, 0)
            return
        self._link.bury(delivery, delivery.batch)
        self._link.acknowledge(delivery)

    def _end(self, batch: Batch, reason: str) -> None:
        if batch.flags & Flag.RETRY:
            return
        if batch.flags & Flag.ABORT:
            raise ChannelAborted(self._aborted(batch.producer, reason))
        self._ended[batch.producer] = max(batch.epoch, self._ended.get(batch.producer, 0))

    def _aborted(self, producer: str, reason: str) -> str:
        return (
            f'channel {self._channel.name!r}: producer {producer!r} failed ({reason}); what it had '
            'sent was delivered, the stream is incomplete'
        )

    def _take(self, delivery: Delivery, opened: Opened) -> Holding | None:
        header = opened.header
        if not self._seen.take(header.producer, header.epoch, header.number, header.floor):
            self.statistics.duplicates += 1
            if (header.producer, header.epoch, header.number) not in self.holdings:
                self._link.acknowledge(delivery)
            return None
        holding = Holding(delivery, opened)
        self.holdings[holding.identity] = holding
        self._count(holding)
        return holding

    def _count(self, holding: Holding) -> None:
        counters, header = self.statistics, holding.opened.header
        counters.batches += 1
        counters.last = time.time()
        counters.first = counters.first or counters.last
        if holding.delivery.deliveries > 1:
            counters.redelivered += holding.left
            return
        counters.messages += holding.count
        counters.nbytes += len(holding.opened.body)
        counters.latencies.add(counters.last - header.sent, holding.count)

    def done(self, holding: Holding) -> None:
        """Every message of the holding is settled."""
        self.holdings.pop(holding.identity, None)

    def give_back(self, holding: Holding) -> None:
        """Return a holding to the link, for another reader."""
        self.holdings.pop(holding.identity, None)
        self._seen.forget(*holding.identity)
        self._link.release(holding.delivery, holding.record)

    def has_ended(self, view: View) -> bool:
        """Whether every declared writer has ended.

        Raises:
            ChannelAborted: One of them failed for good.
        """
        writers = view.of('writer')
        ended = True
        for writer in writers:
            if self._ended.get(writer.name, -1) >= writer.epoch:
                continue
            if writer.state == 'failed':
                reason = str(writer.contact.get('reason', 'its task failed'))
                raise ChannelAborted(self._aborted(writer.name, reason))
            ended = False
        return ended and len(writers) >= (self._channel.writers or 1)
