"""One reader follows another on a stream: what is older comes first."""

from __future__ import annotations

import time
from typing import Any

import pytest

from parsl_streaming.seam import Member
from parsl_streaming.seam import View
from parsl_streaming.spec import Pattern


class Holder:
    """A registry's view that says who holds the only partition; each end may see another."""

    def __init__(self, name: str, *, alive: str = 'ab') -> None:
        self.alive = alive
        self.holds(name)

    def holds(self, name: str) -> None:
        members = tuple(Member(each, 'reader', group='g', state='open') for each in self.alive)
        self.view = View(1, members, {'g': [name]})


def nothing(reader: Any) -> bool:
    return [reader.read(0.05) for _ in range(4)] == [None] * 4


def consumers(here: Any, stream: str) -> list[str]:
    return [each[1].decode() for each in here.admin('XINFO', 'CONSUMERS', stream, 'g')]


def store_numbers(tools: Any, writer: Any, *numbers: int) -> None:
    tools.store(writer, *map(tools.make_batch, numbers))


@pytest.mark.parametrize('pattern', [Pattern.BROADCAST, Pattern.GATHER])
def test_what_a_dead_reader_had_comes_before_what_is_new(
    stage: Any, tools: Any, pattern: Pattern
) -> None:
    here = stage(pattern=pattern)
    here.declare('r@r')
    writer, dead = here.writer(), here.reader('r', 'r')
    dead._pace.count = lambda streams: 3
    store_numbers(tools, writer, 1, 2, 3)
    tools.take(dead, 1)
    tools.die(dead)
    store_numbers(tools, writer, 4, 5)
    got = tools.take(here.reader('r', 'r', epoch=1), 5)
    assert [(each.batch.number, each.deliveries) for each in got] == [
        (1, 2),
        (2, 2),
        (3, 2),
        (4, 1),
        (5, 1),
    ]


def test_what_was_given_back_comes_before_what_is_new(stage: Any, tools: Any) -> None:
    here = stage(pattern=Pattern.BROADCAST, lease=30)
    here.declare('r@r')
    writer, first = here.writer(), here.reader('r', 'r')
    first._pace.count = lambda streams: 20
    store_numbers(tools, writer, *range(1, 21))
    tools.acknowledge(first, tools.take(first, 2)[:1])
    first.close()
    store_numbers(tools, writer, 21, 22)
    got = tools.take(here.reader('r', 'r', epoch=1), 21)
    assert tools.numbers(got) == list(range(2, 23))


def test_what_a_reader_gives_back_itself_comes_again_at_once(stage: Any, tools: Any) -> None:
    here = stage(pattern=Pattern.BROADCAST, lease=30)
    here.declare('r@r')
    writer, reader = here.writer(), here.reader('r', 'r')
    store_numbers(tools, writer, 1)
    (held,) = tools.take(reader, 1)
    reader.release(held, 0b1)
    store_numbers(tools, writer, 2)
    again, other = tools.take(reader, 2, patience=5)
    assert (again.batch.number, again.deliveries, again.settled) == (1, 2, 0b1)
    assert other.batch.number == 2
    assert here.admin('EXISTS', reader._access.keys.released('r')) == 0


def test_a_partition_waits_for_what_its_last_holder_works_on(stage: Any, tools: Any) -> None:
    here = stage(pattern=Pattern.SHUFFLE, lease=0.3)
    here.rendezvous = Holder('a')
    writer, a, b = here.writer(), here.reader('a'), here.reader('b')
    store_numbers(tools, writer, 1)
    held = tools.take(a, 1)
    here.rendezvous.holds('b')
    store_numbers(tools, writer, 2)
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        a.pump()
        assert b.read(0.05) is None
    tools.acknowledge(a, held)
    assert tools.numbers(tools.take(b, 1)) == [2]


def test_an_entry_that_a_live_reader_keeps_is_not_overtaken(stage: Any, tools: Any) -> None:
    here = stage(pattern=Pattern.SHUFFLE, lease=30)
    here.rendezvous = Holder('a')
    writer, a, b = here.writer(), here.reader('a'), here.reader('b')
    a._pace.count = lambda streams: 2
    store_numbers(tools, writer, 1, 2)
    first, second = tools.take(a, 2)
    here.rendezvous.holds('b')
    a.release(second, 0)
    assert nothing(b)
    a.release(first, 0)
    tools.settle_down(lambda: a._outbox.empty, a.pump)
    assert tools.numbers(tools.take(b, 2, patience=5)) == [1, 2]


def test_a_reader_that_has_not_heard_of_its_loss_is_waited_for(stage: Any, tools: Any) -> None:
    here = stage(pattern=Pattern.SHUFFLE, lease=30)
    old, new = Holder('a'), Holder('b')
    writer = here.writer()
    a, b = here.reader('a', rendezvous=old), here.reader('b', rendezvous=new)
    a.read(0)
    assert nothing(b)
    store_numbers(tools, writer, 1)
    held = tools.take(a, 1)
    store_numbers(tools, writer, 2)
    assert nothing(b)
    old.holds('b')
    assert nothing(a)
    tools.acknowledge(a, held)
    assert tools.numbers(tools.take(b, 1, patience=5)) == [2]
    assert consumers(here, writer._streams[0]) == ['b:0']


def test_a_partition_comes_back_to_a_reader_that_lost_it(stage: Any, tools: Any) -> None:
    here = stage(pattern=Pattern.SHUFFLE, lease=30)
    here.rendezvous = Holder('a')
    writer, a, b = here.writer(), here.reader('a'), here.reader('b')
    store_numbers(tools, writer, 1)
    tools.acknowledge(a, tools.take(a, 1))
    here.rendezvous.holds('b')
    assert nothing(a)
    store_numbers(tools, writer, 2)
    held = tools.take(b, 1)
    here.rendezvous.holds('a')
    store_numbers(tools, writer, 3)
    assert nothing(a)
    tools.acknowledge(b, held)
    tools.settle_down(lambda: 'b:0' not in consumers(here, writer._streams[0]), b.pump)
    assert tools.numbers(tools.take(a, 1, patience=5)) == [3]


@pytest.mark.parametrize('alive', ['ab', 'b'])
def test_nothing_waits_for_a_silent_reader_for_ever(stage: Any, tools: Any, alive: str) -> None:
    here = stage(pattern=Pattern.SHUFFLE, lease=0.3 if 'a' in alive else 30)
    here.rendezvous = Holder('a')
    writer, a, b = here.writer(), here.reader('a'), here.reader('b')
    a.read(0)
    tools.die(a)
    here.rendezvous.alive = alive
    here.rendezvous.holds('b')
    store_numbers(tools, writer, 1)
    assert tools.numbers(tools.take(b, 1, patience=5)) == [1]


def test_other_streams_flow_while_one_is_held_up(stage: Any, tools: Any) -> None:
    here = stage(pattern=Pattern.BROADCAST, lease=30)
    here.declare('r@r')
    writer, other, dead = here.writer(), here.writer('q'), here.reader('r', 'r')
    store_numbers(tools, writer, 1)
    tools.take(dead, 1)
    tools.die(dead)
    store_numbers(tools, writer, 2)
    heir = here.reader('r', 'r', epoch=1)
    for number in range(1, 6):
        tools.store(other, tools.make_batch(number, producer='q'))
        assert tools.take(heir, 1)[0].batch.producer == 'q'
    assert nothing(heir)


def test_what_was_on_its_way_when_the_connection_broke_comes_first(stage: Any, tools: Any) -> None:
    here = stage(pattern=Pattern.BROADCAST, lease=30)
    here.declare('r@r')
    writer, reader = here.writer(), here.reader('r', 'r')
    store_numbers(tools, writer, 1)
    held = tools.take(reader, 1)
    store_numbers(tools, writer, 2, 3)
    lost = ['XREADGROUP', 'GROUP', 'r', 'r:0', 'COUNT', 2, 'STREAMS', writer._streams[0], '>']
    assert len(here.admin(*lost)[0][1]) == 2
    tools.die(reader)
    store_numbers(tools, writer, 4)
    got = tools.take(reader, 3)
    assert tools.numbers(got) == [2, 3, 4]
    tools.acknowledge(reader, held + got)
    assert here.admin('XLEN', writer._streams[0]) == 0


def test_a_claim_that_fails_takes_the_later_ones_of_its_stream_with_it(
    stage: Any, tools: Any
) -> None:
    here = stage(pattern=Pattern.BROADCAST, lease=0.3)
    here.declare('r@r')
    writer, other, dead = here.writer(), here.writer('q'), here.reader('r', 'r')
    dead._pace.count = lambda streams: 2
    store_numbers(tools, writer, 1, 2)
    tokens = [delivery.token for delivery in tools.take(dead, 2)]
    tools.die(dead)
    heir = here.reader('r', 'r', epoch=1)
    for token in tokens:
        heir._leases.offer(token, 10**9, 1)
    heir._leases.offer((other._streams[0], '1-1'), 10**9, 1)
    assert heir._leases.claimable() == {writer._streams[0], other._streams[0]}
    heir._leases.claim(heir._deliver)
    tools.settle_down(lambda: not heir._line.busy, heir.pump)
    assert heir._leases.claimable() == {other._streams[0]}
    assert tools.numbers(tools.take(heir, 2)) == [1, 2]


def test_a_stream_that_went_as_it_was_found_is_looked_at_again(stage: Any, tools: Any) -> None:
    here = stage(pattern=Pattern.SHUFFLE, lease=30)
    here.rendezvous = Holder('a')
    writer, a = here.writer(), here.reader('a')
    stream = writer._streams[0]
    a._succession.readable([stream])
    tools.settle_down(lambda: a._succession.readable([stream]), a.pump)
    assert a._succession.readable([]) == []
    a._succession.enter(stream)
    assert a._succession.readable([]) == []
    tools.settle_down(lambda: not a._line.busy, lambda: a._turn(0.1))
    assert a._succession.readable([stream]) == []
