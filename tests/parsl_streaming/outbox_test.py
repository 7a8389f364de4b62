from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_streaming.errors import ChannelFull
from parsl_streaming.errors import ChannelTimeout
from parsl_streaming.outbox import Outbox
from parsl_streaming.packing import Packer
from parsl_streaming.packing import Unpacker
from parsl_streaming.seam import Batch
from parsl_streaming.seam import LinkWriter
from parsl_streaming.seam import Room
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import OnFull

CHANNEL = b'channel!'
ROW = (0, None, None, None, None)


class Link(LinkWriter):
    """Takes batches while there is room; what is safe, the test says."""

    def __init__(self, room: int = 1 << 20, *, idle: bool = False) -> None:
        self.written: list[Batch] = []
        self.free = room
        self.idle = idle
        self.acknowledged = 0

    @property
    def safe(self) -> int:
        return self.acknowledged

    @property
    def floor(self) -> int:
        return self.acknowledged + 1

    def room(self) -> Room:
        return Room(self.free, 1 << 40, idle=self.idle and self.free > 0)

    def write(self, batch: Batch, timeout: float) -> None:
        if batch.count > self.free:
            time.sleep(min(timeout, 0.01))
            msg = 'no credit'
            raise ChannelFull(msg)
        self.free -= batch.count
        self.written.append(batch)

    def pump(self, timeout: float, *, waiting: bool = False) -> None:
        time.sleep(min(timeout, 0.001))

    def replies(self) -> list[Batch]:
        return []

    def statistics(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        self.free = 0


def outbox(link: Link, **spec: Any) -> Outbox:
    values: dict[str, Any] = {'name': 'c', 'source': 'a', 'target': 'b'} | spec
    return Outbox(ChannelSpec(**values), link, Packer('p', 1, CHANNEL, None))


def add(box: Outbox, *values: bytes, partition: int = 0, wait: float = 0.0) -> list[int]:
    limit = time.monotonic() + wait
    return [box.add(partition, value, ROW, limit) for value in values]


def payloads(link: Link) -> list[bytes]:
    found = []
    for batch in link.written:
        opened = Unpacker(CHANNEL, None, 1 << 20).open(batch)
        ends = zip(opened.starts, opened.starts[1:], strict=False)
        found += [bytes(opened.body[start:end]) for start, end in ends]
    return found


@given(
    st.lists(st.binary(max_size=30), max_size=60),
    st.integers(1, 8),
    st.integers(1, 64),
    st.lists(st.integers(0, 5), min_size=1, max_size=20),
)
def test_whatever_the_limits_everything_leaves_once_and_in_order(
    values: list[bytes], messages: int, nbytes: int, credit: list[int]
) -> None:
    """Credit comes in drops; what was refused is sent again."""
    link = Link(0)
    box = outbox(link, batch_messages=messages, batch_bytes=nbytes)
    drops = iter(credit * 100)
    for value in values:
        while True:
            link.free += next(drops, 5)
            try:
                add(box, value)
                break
            except ChannelFull:
                continue
    link.free = 1 << 20
    link.acknowledged = 1 << 20
    box.flush(time.monotonic() + 1)
    assert payloads(link) == values
    assert [batch.number for batch in link.written] == list(range(1, len(link.written) + 1))
    for batch in link.written:
        assert batch.count <= messages
        assert batch.count == 1 or len(batch.body) < nbytes + 30
    assert box.statistics.messages == len(values)
    assert box.statistics.nbytes == sum(map(len, values))


def test_a_batch_closes_at_its_count() -> None:
    link = Link()
    box = outbox(link, batch_messages=3)
    assert add(box, *[b'x'] * 7) == list(range(7))
    assert [batch.count for batch in link.written] == [3, 3]
    box.advance(everything=True)
    assert [batch.count for batch in link.written] == [3, 3, 1]


def test_a_batch_closes_at_its_size() -> None:
    link = Link()
    box = outbox(link, batch_bytes=100)
    add(box, *[bytes(40)] * 5, bytes(1000))
    box.advance(everything=True)
    assert all(len(batch.body) <= 100 or batch.count == 1 for batch in link.written)
    assert sum(batch.count for batch in link.written) == 6


def test_an_idle_reader_gets_a_message_at_once() -> None:
    link = Link(idle=True)
    box = outbox(link)
    add(box, b'now')
    assert payloads(link) == [b'now']


def test_a_batch_is_overdue_after_the_linger() -> None:
    link = Link()
    box = outbox(link, linger=0.005)
    assert not box.overdue()
    add(box, b'x')
    assert not link.written
    time.sleep(0.006)
    assert box.overdue()
    box.advance(everything=box.overdue())
    assert payloads(link) == [b'x']
    assert not box.overdue()


def test_a_message_that_was_refused_is_not_kept() -> None:
    link = Link(0)
    box = outbox(link, batch_messages=1)
    accepted = []
    for i in range(5):
        try:
            add(box, b'%d' % i)
            accepted.append(b'%d' % i)
        except ChannelFull:
            continue
    assert accepted
    assert len(accepted) < 5
    link.free = 100
    link.acknowledged = 100
    box.flush(time.monotonic() + 1)
    assert payloads(link) == accepted
    assert box.statistics.messages == len(accepted)


def test_nothing_is_dropped_when_there_is_room_again() -> None:
    link = Link(0)
    box = outbox(link, on_full=OnFull.DROP_OLDEST, batch_messages=4)
    add(box, *[b'x'] * 4)
    link.free = 10
    add(box, b'y')
    assert [batch.count for batch in link.written] == [4]
    assert box.statistics.dropped == 0


def test_the_oldest_are_dropped_where_that_is_declared() -> None:
    link = Link(0)
    box = outbox(link, batch_messages=2, on_full=OnFull.DROP_OLDEST)
    add(box, *[b'%d' % i for i in range(10)])
    link.free = 100
    box.advance(everything=True)
    kept = payloads(link)
    assert kept[-1] == b'9'
    assert kept == sorted(kept)
    assert len(kept) + box.statistics.dropped == 10
    assert box.statistics.dropped > 0


def test_partitions_are_batched_apart() -> None:
    link = Link()
    box = outbox(link, partitions=2)
    for i in range(6):
        add(box, b'%d' % i, partition=i % 2)
    box.advance(everything=True)
    assert {batch.partition: batch.count for batch in link.written} == {0: 3, 1: 3}


def test_flush_waits_until_everything_is_safe() -> None:
    link = Link()
    box = outbox(link)
    add(box, b'x')
    assert box.busy
    with pytest.raises(ChannelTimeout, match='not acknowledged, but kept: 1 batch;'):
        box.flush(time.monotonic() + 0.01)
    link.acknowledged = 1
    box.flush(time.monotonic() + 1)
    assert not box.busy


def test_flush_without_credit_times_out_and_keeps_everything() -> None:
    link = Link(0)
    box = outbox(link)
    add(box, b'x')
    with pytest.raises(ChannelTimeout):
        box.flush(time.monotonic() + 0.01)
    link.free = link.acknowledged = 10
    box.flush(time.monotonic() + 1)
    assert payloads(link) == [b'x']


def test_a_position_is_safe_when_its_batch_is() -> None:
    link = Link()
    box = outbox(link, batch_messages=2)
    assert box.is_safe(0)
    add(box, *[b'x'] * 4)
    box.advance(everything=True)
    assert not box.is_safe(1)
    link.acknowledged = 1
    assert box.is_safe(2)
    assert not box.is_safe(3)
    link.acknowledged = 2
    assert box.is_safe(4)
    assert not box.is_safe(5)
