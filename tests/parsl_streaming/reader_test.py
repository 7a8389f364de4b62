"""The reader's details; what it promises on every architecture is in tests/conformance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from parsl_streaming.errors import BrokerUnavailable
from parsl_streaming.errors import ChannelTimeout
from parsl_streaming.errors import EndOfStream
from parsl_streaming.packing import OpenBatch
from parsl_streaming.packing import Packer
from parsl_streaming.packing import Unpacker
from parsl_streaming.reader import Reader
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Delivery
from parsl_streaming.seam import Flag
from parsl_streaming.seam import LinkReader
from parsl_streaming.seam import Member
from parsl_streaming.seam import View
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Pattern

CHANNEL = b'channel!'


class Link(LinkReader):
    """Delivers what the test lays out, and notes what it is told."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.told: list[tuple[Any, ...]] = []
        self.broken = False

    def read(self, timeout: float) -> Delivery | None:
        return self.deliveries.pop(0) if self.deliveries else None

    def acknowledge(self, delivery: Delivery) -> None:
        self.told.append(('acknowledge', delivery.batch.number))

    def mark(self, delivery: Delivery, settled: int) -> None:
        self.told.append(('mark', delivery.batch.number, bin(settled)))

    def release(self, delivery: Delivery, settled: int) -> None:
        self.told.append(('release', delivery.batch.number, bin(settled)))

    def extend(self, delivery: Delivery) -> None:
        self.told.append(('extend', delivery.batch.number))

    def bury(self, delivery: Delivery, letter: Batch) -> None:
        self.told.append(('bury', delivery.batch.number))

    def reply(self, delivery: Delivery, batch: Batch) -> None:
        self.told.append(('reply', delivery.batch.number, batch.count))

    def pump(self) -> bool:
        if self.broken:
            msg = 'the broker is gone'
            raise BrokerUnavailable(msg)
        return False

    def statistics(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        self.told.append(('close',))


class Output:
    """A writer of the same task, of which the test says what is safe."""

    def __init__(self) -> None:
        self.sent = 0
        self.safe = 0

    def position(self) -> int:
        return self.sent

    def is_safe(self, position: int) -> bool:
        return self.safe >= position

    def flush(self) -> None:
        self.safe = self.sent


class Attendance:
    view = View(1, (Member('p', 'writer', 1),))

    def __init__(self) -> None:
        self.left = 0

    def leave(self, statistics: object, *, lost: bool = False) -> None:
        self.left += 1


class Bench:
    """A reader over a fake link."""

    def __init__(self, *outputs: Output, manual: bool = False, **spec: Any) -> None:
        values: dict[str, Any] = {'name': 'c', 'source': 'a', 'target': 'b', 'timeout': 0.05} | spec
        self.link, self.attendance = Link(), Attendance()
        self.sender = Packer('p', 1, CHANNEL, None)
        self.reader = Reader(
            ChannelSpec(**values),
            self.link,
            Packer('r', 1, CHANNEL, None),
            Unpacker(CHANNEL, None, 1 << 20),
            self.attendance,
            manual=manual,
            outputs=outputs,
        )

    def put(self, *values: bytes, ref: int | None = None, **delivery: Any) -> None:
        batch = OpenBatch()
        for value in values:
            batch.add(value, (0, None, None, None, ref))
        self.link.deliveries.append(Delivery(self.sender.pack(batch), **delivery))

    def end(self) -> None:
        self.link.deliveries.append(Delivery(self.sender.pack_end(Flag.NONE)))


@pytest.fixture
def bench() -> Iterator[Bench]:
    it = Bench()
    yield it
    it.reader.close()


def test_a_batch_is_acknowledged_once_with_its_last_message(bench: Bench) -> None:
    bench.put(b'a', b'b')
    bench.put(b'c')
    assert [bench.reader.receive().value for _ in range(2)] == [b'a', b'b']
    assert bench.link.told == []
    bench.reader.receive()
    assert bench.link.told == [('acknowledge', 1)]
    bench.reader.close()
    assert bench.link.told == [('acknowledge', 1), ('acknowledge', 2), ('close',)]


def test_closing_gives_back_what_was_not_handed_out(bench: Bench) -> None:
    bench.put(b'a', b'b', b'c')
    bench.reader.receive()
    bench.reader.close()
    assert bench.link.told == [('release', 1, '0b1'), ('close',)]
    assert bench.attendance.left == 1


def test_abandoning_gives_back_the_last_message_too(bench: Bench) -> None:
    bench.put(b'a', b'b', b'c')
    bench.reader.receive()
    bench.reader.receive()
    bench.reader.abandon()
    bench.reader.abandon()
    assert bench.link.told == [('release', 1, '0b1'), ('close',)]


def test_only_what_is_open_of_a_redelivery_is_handed_out(bench: Bench) -> None:
    bench.put(b'a', b'b', b'c', deliveries=2, settled=0b101)
    bench.put(b'd', deliveries=2, settled=0b1)
    bench.end()
    assert [message.value for message in bench.reader] == [b'b']
    # The attempt is noted before its message is handed out, so that a poison is found.
    assert bench.link.told[0] == ('mark', 1, '0b1101')
    assert ('acknowledge', 2) in bench.link.told


def test_a_poison_is_buried_at_its_last_attempt() -> None:
    bench = Bench(max_deliveries=3)
    bench.put(b'done', b'poison', b'fine', deliveries=3, settled=0b11_001)
    bench.end()
    assert [message.value for message in bench.reader] == [b'fine']
    assert bench.link.told[0] == ('bury', 1)
    assert bench.reader.statistics().dead_letters == 1


def test_acknowledgement_waits_for_the_outputs_of_the_task() -> None:
    output = Output()
    bench = Bench(output)
    bench.put(b'a')
    bench.put(b'b')
    bench.reader.receive()
    output.sent = 1
    bench.reader.receive()
    assert bench.link.told == []
    output.safe = 1
    bench.reader.tick()
    assert bench.link.told == [('acknowledge', 1)]
    output.sent = 2
    bench.reader.close()
    assert output.safe == 2
    assert bench.link.told == [('acknowledge', 1), ('acknowledge', 2), ('close',)]


def test_an_abandoned_reader_takes_no_credit_for_unsafe_outputs() -> None:
    output = Output()
    bench = Bench(output)
    bench.put(b'a')
    bench.put(b'b')
    bench.reader.receive()
    output.sent = 1
    bench.reader.receive()
    bench.reader.abandon()
    assert ('acknowledge', 1) not in bench.link.told
    assert ('release', 1, '0b0') in bench.link.told
    assert ('release', 2, '0b0') in bench.link.told


def test_the_end_waits_for_the_outputs_of_the_task() -> None:
    output = Output()
    bench = Bench(output)
    bench.put(b'a')
    bench.end()
    bench.reader.receive()
    output.sent = 1
    with pytest.raises(ChannelTimeout):
        bench.reader.receive()
    output.safe = 1
    with pytest.raises(EndOfStream):
        bench.reader.receive()
    bench.reader.close()


def test_replies_leave_ahead_of_the_acknowledgement() -> None:
    bench = Bench(pattern=Pattern.FEEDBACK, linger=60.0)
    bench.put(b'a', b'b', ref=1)
    for _ in range(2):
        bench.reader.receive().reply('answer')
    assert bench.link.told == [('reply', 1, 2), ('acknowledge', 1)]
    bench.reader.close()


def test_replies_do_not_wait_longer_than_the_linger() -> None:
    bench = Bench(pattern=Pattern.FEEDBACK, linger=0.0)
    bench.put(b'a', b'b', ref=1)
    bench.reader.receive().reply('answer')
    assert bench.link.told == [('reply', 1, 1)]
    bench.reader.close()


def test_a_nacked_message_comes_again_in_the_same_reader(bench: Bench) -> None:
    bench.put(b'a', b'b')
    bench.end()
    first = bench.reader.receive()
    first.nack(reason='not yet')
    again = bench.reader.receive()
    assert (again.value, again.deliveries, again.redelivered) == (b'a', 2, True)
    assert bench.reader.receive().value == b'b'
    with pytest.raises(EndOfStream):
        bench.reader.receive()
    assert bench.link.told == [('acknowledge', 1)]


def test_a_message_is_settled_once(bench: Bench) -> None:
    bench.put(b'a', b'b')
    message = bench.reader.receive()
    for settle in (message.ack, message.ack, message.nack, lambda: message.reject('no')):
        settle()
    assert bench.reader.statistics().acknowledged == 1
    assert bench.link.told == []


def test_a_broken_link_is_noticed_in_the_background(bench: Bench) -> None:
    assert not bench.reader.tick()
    bench.link.broken = True
    assert not bench.reader.tick()
    with pytest.raises(BrokerUnavailable):
        bench.reader.receive()


def test_bunches_end_with_their_batch(bench: Bench) -> None:
    bench.put(b'a', b'b', b'c')
    bench.put(b'd')
    assert [m.value for m in bench.reader.receive_many(2)] == [b'a', b'b']
    assert [m.value for m in bench.reader.receive_many(9)] == [b'c']
    assert [m.value for m in bench.reader.receive_many(9)] == [b'd']


def test_work_in_progress_is_said_until_the_reader_closes(bench: Bench) -> None:
    bench.put(b'a')
    message = bench.reader.receive()
    message.in_progress()
    bench.reader.close()
    message.in_progress()
    assert bench.link.told.count(('extend', 1)) == 1
    assert repr(bench.reader) == "Reader(channel='c', messages=1)"
