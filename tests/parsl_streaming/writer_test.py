"""The writer's details; what it promises on every architecture is in tests/conformance."""

from __future__ import annotations

from typing import Any

import pytest

from parsl_streaming.errors import BrokerUnavailable
from parsl_streaming.errors import ChannelClosed
from parsl_streaming.errors import ChannelFull
from parsl_streaming.errors import ChannelTimeout
from parsl_streaming.errors import CodecError
from parsl_streaming.packing import Packer
from parsl_streaming.packing import Unpacker
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Flag
from parsl_streaming.seam import LinkWriter
from parsl_streaming.seam import Room
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Pattern
from parsl_streaming.writer import Writer

CHANNEL = b'channel!'


class Link(LinkWriter):
    """An idle reader that settles at once, unless the test says otherwise."""

    def __init__(self) -> None:
        self.written: list[Batch] = []
        self.settles = True
        self.broken = False
        self.closed = 0

    @property
    def safe(self) -> int:
        return len(self.written) if self.settles else 0

    @property
    def floor(self) -> int:
        return self.safe + 1

    def room(self) -> Room:
        return Room(100, 1 << 20, idle=True)

    def write(self, batch: Batch, timeout: float) -> None:
        self.written.append(batch)

    def pump(self, timeout: float, *, waiting: bool = False) -> None:
        if self.broken:
            msg = 'the broker is gone'
            raise BrokerUnavailable(msg)

    def replies(self) -> list[Batch]:
        return []

    def statistics(self) -> dict[str, int]:
        return {'redelivered': 3}

    def close(self) -> None:
        self.closed += 1


class Attendance:
    def __init__(self) -> None:
        self.known = ['g']
        self.left: list[Batch | None] = []

    def groups(self) -> list[str]:
        return self.known

    def wake(self) -> None:
        """Nobody sleeps here: the tests tick."""

    def leave(self, statistics: object, end: Batch | None) -> None:
        self.left.append(end)


class Bench:
    """A writer over a fake link."""

    def __init__(self, **spec: Any) -> None:
        values: dict[str, Any] = {'name': 'c', 'source': 'a', 'target': 'b', 'timeout': 0.05} | spec
        self.link, self.attendance = Link(), Attendance()
        self.writer = Writer(
            ChannelSpec(**values),
            self.link,
            Packer('p', 1, CHANNEL, None),
            Unpacker(CHANNEL, None, 1 << 20),
            self.attendance,
        )

    def rows(self) -> list[tuple[Any, ...]]:
        found = []
        for batch in self.link.written:
            opened = Unpacker(CHANNEL, None, 1 << 20).open(batch)
            found += [opened.index.row(i) for i in range(batch.count)]
        return found


def test_closing_ends_the_stream_and_leaves_the_end_behind() -> None:
    bench = Bench()
    bench.writer.send(b'x')
    bench.writer.close()
    bench.writer.close()
    assert [batch.flags for batch in bench.link.written] == [Flag.NONE, Flag.END]
    assert bench.attendance.left == [bench.link.written[-1]]
    assert bench.link.closed == 1


@pytest.mark.parametrize('retry', [True, False])
def test_an_abort_says_whether_a_retry_may_follow(*, retry: bool) -> None:
    bench = Bench()
    bench.writer.abort('no beam', retry=retry)
    (end,) = bench.link.written
    assert Flag.END | Flag.ABORT in end.flags
    assert (Flag.RETRY in end.flags) == retry
    assert bytes(end.body) == b'no beam'


def test_a_close_in_vain_frees_everything_and_ends_nothing() -> None:
    bench = Bench()
    bench.link.settles = False
    bench.writer.send(b'x')
    with pytest.raises(ChannelTimeout):
        bench.writer.close()
    assert bench.attendance.left == [None]
    assert bench.link.closed == 1
    with pytest.raises(ChannelClosed):
        bench.writer.send(b'y')


def test_an_abort_in_vain_raises_nothing() -> None:
    bench = Bench(lease=0.02)
    bench.link.settles = False
    bench.writer.send(b'x')
    bench.writer.abort('no beam')
    assert bench.attendance.left == [None]


def test_key_and_headers_are_fixed_when_they_are_sent() -> None:
    bench = Bench()
    bench.link.room = lambda: Room(100, 1 << 20, idle=False)  # type: ignore[method-assign]
    key, headers = ['a'], {'run': [1]}
    bench.writer.send(b'x', key=key, headers=headers)
    key.append('b')
    headers['run'].append(2)
    bench.writer.send(b'y', key=key, headers=headers)
    bench.writer.close()
    rows = bench.rows()
    assert [row[2] for row in rows] == [['a'], ['a', 'b']]
    assert [row[3] for row in rows] == [{'run': [1]}, {'run': [1, 2]}]


@pytest.mark.parametrize(
    ('key', 'headers'), [(object(), None), (1 << 70, None), (None, {'x': {1}}), ('\ud800', None)]
)
def test_key_and_headers_that_cannot_travel_are_refused_at_once(key: Any, headers: Any) -> None:
    bench = Bench()
    with pytest.raises(CodecError, match="channel 'c'"):
        bench.writer.send(b'x', key=key, headers=headers)
    assert bench.writer.position() == 0
    assert not bench.link.written
    bench.writer.close()


def test_a_broadcast_waits_for_its_readers_and_says_how_many_came() -> None:
    bench = Bench(pattern=Pattern.BROADCAST, readers=3)
    with pytest.raises(ChannelFull, match='1 of 3 readers'):
        bench.writer.send(b'x')
    bench.attendance.known = ['g', 'h', 'i']
    bench.writer.send(b'x')
    bench.attendance.known = ['g']
    bench.writer.send(b'y')
    bench.writer.close()
    assert sum(batch.count for batch in bench.link.written) == 2


def test_a_key_finds_the_same_partition_everywhere() -> None:
    """A hash of its bytes: another process must find the same reader."""
    bench = Bench(pattern=Pattern.SHUFFLE, partitions=16)
    for key in ('a', b'a', 1, ('x', 2), 'a'):
        bench.writer.send(b'x', key=key)
        bench.writer.flush()
    bench.writer.close()
    partitions = [batch.partition for batch in bench.link.written[:-1]]
    assert partitions[0] == partitions[4]
    assert len(set(partitions)) > 1


def test_a_broken_link_is_noticed_in_the_background() -> None:
    bench = Bench()
    bench.writer.tick()
    bench.link.broken = True
    assert not bench.writer.tick()
    with pytest.raises(BrokerUnavailable):
        bench.writer.send(b'x')
    with pytest.raises(BrokerUnavailable):
        bench.writer.flush()
    bench.writer.close()
    assert bench.attendance.left == [None]


def test_a_position_is_safe_after_closing_whatever_it_is() -> None:
    bench = Bench()
    bench.link.settles = False
    bench.writer.send(b'x')
    assert bench.writer.position() == 1
    assert not bench.writer.is_safe(1)
    bench.link.settles = True
    assert bench.writer.is_safe(1)
    bench.writer.close()
    assert bench.writer.is_safe(99)


def test_statistics_and_repr() -> None:
    bench = Bench()
    bench.writer.send(b'12345')
    counters = bench.writer.statistics()
    assert (counters.messages, counters.nbytes, counters.redelivered) == (1, 5, 3)
    assert repr(bench.writer) == "Writer(channel='c', messages=1)"
    bench.writer.close()
