from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from parsl_streaming.errors import ChannelAborted
from parsl_streaming.inbox import Inbox
from parsl_streaming.message import Holding
from parsl_streaming.packing import OpenBatch
from parsl_streaming.packing import Packer
from parsl_streaming.packing import Unpacker
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Delivery
from parsl_streaming.seam import Flag
from parsl_streaming.seam import LinkReader
from parsl_streaming.seam import Member
from parsl_streaming.seam import View
from parsl_streaming.spec import ChannelSpec

CHANNEL = b'channel!'


class Link(LinkReader):
    """Delivers what the test lays out, and notes what it is told."""

    def __init__(self, *deliveries: Delivery) -> None:
        self.deliveries = list(deliveries)
        self.told: list[tuple[Any, ...]] = []

    def read(self, timeout: float) -> Delivery | None:
        return self.deliveries.pop(0) if self.deliveries else None

    def acknowledge(self, delivery: Delivery) -> None:
        self.told.append(('acknowledge', delivery.batch.number))

    def release(self, delivery: Delivery, settled: int) -> None:
        self.told.append(('release', delivery.batch.number, settled))

    def bury(self, delivery: Delivery, letter: Batch) -> None:
        self.told.append(('bury', letter.number))


def inbox(*deliveries: Delivery, **spec: Any) -> tuple[Inbox, Link]:
    link = Link(*deliveries)  # type: ignore[abstract]
    values: dict[str, Any] = {'name': 'c', 'source': 'a', 'target': 'b'} | spec
    return Inbox(ChannelSpec(**values), link, Unpacker(CHANNEL, None, 1 << 20)), link


def packer(name: str = 'p', epoch: int = 1) -> Packer:
    return Packer(name, epoch, CHANNEL, None)


def batch(sender: Packer, count: int = 1) -> Batch:
    opened = OpenBatch()
    for _ in range(count):
        opened.add(b'data', (0, None, None, None, None))
    return sender.pack(opened)


def damaged(original: Batch) -> Batch:
    return replace(original, body=b'tada' * original.count)


def test_a_new_batch_is_held_until_it_is_done() -> None:
    it, _ = inbox(Delivery(batch(packer(), 3)))
    holding = it.fetch(0)
    assert holding is not None
    assert it.holdings == {('p', 1, 1): holding}
    assert (it.statistics.messages, it.statistics.nbytes, it.statistics.batches) == (3, 12, 1)
    it.done(holding)
    assert it.holdings == {}
    assert it.fetch(0) is None


def test_a_duplicate_is_acknowledged_and_counted_once_it_is_settled() -> None:
    one = batch(packer())
    it, link = inbox(Delivery(one), Delivery(one), Delivery(one))
    holding = it.fetch(0)
    assert holding is not None
    assert it.fetch(0) is None
    assert link.told == []
    it.done(holding)
    assert it.fetch(0) is None
    assert link.told == [('acknowledge', 1)]
    assert it.statistics.duplicates == 2
    assert it.statistics.messages == 1


def test_what_was_given_back_may_come_again() -> None:
    one = batch(packer(), 2)
    it, link = inbox(Delivery(one), Delivery(one, deliveries=2, settled=1))
    holding = it.fetch(0)
    assert holding is not None
    holding.settle(0)
    it.give_back(holding)
    assert link.told == [('release', 1, 1)]
    again = it.fetch(0)
    assert again is not None
    assert (again.left, again.settled) == (1, 1)
    assert (it.statistics.messages, it.statistics.redelivered) == (2, 1)


def test_a_damaged_batch_is_asked_for_again_and_given_up_in_the_end() -> None:
    bad = damaged(batch(packer()))
    deliveries = [Delivery(bad, deliveries=n) for n in (1, 2, 3)]
    it, link = inbox(*deliveries, max_deliveries=3)
    assert [it.fetch(0) for _ in deliveries] == [None] * 3
    expected = [('release', 1, 0), ('release', 1, 0), ('bury', 1), ('acknowledge', 1)]
    assert link.told == expected
    assert it.statistics.damaged == 3
    assert it.statistics.messages == 0


def test_a_damaged_end_ends_nothing() -> None:
    end = packer().pack_end(Flag.NONE)
    it, link = inbox(Delivery(replace(end, body=b'x'), deliveries=99))
    assert it.fetch(0) is None
    assert link.told == [('release', 1, 0)]
    assert not it.has_ended(view(Member('p', 'writer', 1)))


def view(*members: Member) -> View:
    return View(1, members)


def test_a_channel_has_ended_when_every_declared_writer_has() -> None:
    writers = view(Member('p', 'writer', 1, state='open'), Member('q', 'writer', 2))
    it, _ = inbox(
        Delivery(packer('p').pack_end(Flag.NONE)), Delivery(packer('q', 2).pack_end(Flag.NONE))
    )
    for _ in range(2):
        assert not it.has_ended(writers)
        assert it.fetch(0) is None
    assert it.has_ended(writers)


def test_a_channel_without_its_writers_has_not_ended() -> None:
    it, _ = inbox(Delivery(packer().pack_end(Flag.NONE)), writers=2)
    it.fetch(0)
    assert not it.has_ended(view())
    assert not it.has_ended(view(Member('p', 'writer', 1)))


def test_the_end_of_an_older_epoch_is_not_the_end() -> None:
    it, _ = inbox(Delivery(packer(epoch=1).pack_end(Flag.NONE)))
    it.fetch(0)
    assert it.has_ended(view(Member('p', 'writer', 1)))
    assert not it.has_ended(view(Member('p', 'writer', 2)))


def test_an_abort_is_raised_with_its_reason() -> None:
    it, _ = inbox(Delivery(packer().pack_end(Flag.ABORT, 'no beam')))
    with pytest.raises(ChannelAborted, match=r"'p' failed \(no beam\)"):
        it.fetch(0)


def test_an_abort_that_will_be_retried_ends_nothing() -> None:
    it, _ = inbox(Delivery(packer().pack_end(Flag.ABORT | Flag.RETRY, 'preempted')))
    assert it.fetch(0) is None
    assert not it.has_ended(view(Member('p', 'writer', 1)))


def test_a_writer_that_failed_for_good_aborts_unless_it_had_ended() -> None:
    member = Member('p', 'writer', 1, state='failed', contact={'reason': 'out of memory'})
    it, _ = inbox(Delivery(packer().pack_end(Flag.NONE)))
    with pytest.raises(ChannelAborted, match='out of memory'):
        it.has_ended(view(member))
    it.fetch(0)
    assert it.has_ended(view(member))


def test_a_holding_tells_attempts_from_settled_messages() -> None:
    opened = Unpacker(CHANNEL, None, 1 << 20).open(one := batch(packer(), 3))
    holding = Holding(Delivery(one, deliveries=3, settled=0b11_010), opened)
    assert (holding.settled, holding.attempts, holding.left) == (0b010, 2, 2)
    assert holding.settle(0)
    assert not holding.settle(1)
    holding.attempts += 1
    assert holding.record == 0b111_011
    assert holding.deliveries(2) == 3
    holding.retries[2] = 2
    assert holding.deliveries(2) == 5
