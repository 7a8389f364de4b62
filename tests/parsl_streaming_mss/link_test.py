"""Writer and reader together: order, groups, claims, ends, replies, dead letters, replay."""

from __future__ import annotations

import time
from datetime import UTC
from datetime import datetime
from typing import Any

import pytest

from parsl_streaming.errors import BrokerDataLost
from parsl_streaming.errors import ChannelClosed
from parsl_streaming.errors import ChannelFull
from parsl_streaming.errors import IntegrityError
from parsl_streaming.errors import UsageError
from parsl_streaming.seam import Flag
from parsl_streaming.spec import Pattern


def test_batches_come_in_order_and_whole(stage: Any, tools: Any) -> None:
    here = stage()
    here.declare('r')
    writer, reader = here.writer(), here.reader()
    bodies = [bytes([i]) * size for i, size in enumerate((0, 1, 4095, 4096, 70_000, 5_000_000))]
    tools.store(writer, *[tools.make_batch(i + 1, body) for i, body in enumerate(bodies)])
    got = tools.take(reader, len(bodies))
    assert [bytes(delivery.batch.body) for delivery in got] == bodies
    assert tools.numbers(got) == [1, 2, 3, 4, 5, 6]
    assert {delivery.deliveries for delivery in got} == {1}


def test_a_view_handed_out_is_not_overwritten(stage: Any, tools: Any) -> None:
    here = stage()
    here.declare('r')
    writer, reader = here.writer(), here.reader()
    kept = []
    for i in range(1, 30):
        tools.store(writer, tools.make_batch(i, bytes([i]) * 900_000))
        kept += (got := tools.take(reader, 1))
        tools.acknowledge(reader, got)
    assert all(set(bytes(each.batch.body)) == {each.batch.number} for each in kept)


def test_settled_batches_are_deleted_and_give_credit_back(stage: Any, tools: Any) -> None:
    here = stage(credit_messages=3)
    here.declare('r')
    writer, reader = here.writer(), here.reader()
    tools.store(writer, *map(tools.make_batch, (1, 2, 3)))
    assert writer.room().messages == 0
    with pytest.raises(ChannelFull, match='not settled'):
        writer.write(tools.make_batch(4), 0.05)
    tools.acknowledge(reader, tools.take(reader, 3))
    tools.store(writer, tools.make_batch(4))
    assert here.admin('XLEN', writer._streams[0]) == 1
    assert (writer.floor, writer.safe) == (4, 4)


def test_credit_counts_bytes_and_lets_one_large_batch_pass(stage: Any, tools: Any) -> None:
    here = stage(credit_bytes=1000)
    here.declare('r')
    writer = here.writer()
    tools.store(writer, tools.make_batch(1, bytes(5000)))
    assert writer.room().nbytes == 0
    with pytest.raises(ChannelFull):
        writer.write(tools.make_batch(2), 0.0)


def test_a_batch_held_long_does_not_block_the_others(stage: Any, tools: Any) -> None:
    here = stage(credit_messages=4)
    here.declare('r')
    writer, reader = here.writer(), here.reader()
    tools.store(writer, tools.make_batch(1))
    tools.take(reader, 1)
    for i in range(2, 12):
        tools.store(writer, tools.make_batch(i))
        tools.acknowledge(reader, tools.take(reader, 1))
    assert writer.floor == 1


def test_readers_of_a_group_share_and_groups_each_see_all(stage: Any, tools: Any) -> None:
    here = stage(pattern=Pattern.BROADCAST)
    here.declare('a@g1', 'b@g1', 'c@g2')
    writer = here.writer()
    a, b, c = here.reader('a', 'g1'), here.reader('b', 'g1'), here.reader('c', 'g2')
    tools.store(writer, *map(tools.make_batch, (1, 2, 3, 4)))
    shared = tools.take(a, 1)
    shared += tools.take(b, 3)
    tools.acknowledge(a, shared[:1])
    tools.acknowledge(b, shared[1:])
    assert sorted(tools.numbers(shared)) == [1, 2, 3, 4]
    assert here.admin('XLEN', writer._streams[0]) == 4
    everything = tools.take(c, 4)
    tools.acknowledge(c, everything[:2])
    assert tools.numbers(everything) == [1, 2, 3, 4]
    assert here.admin('XLEN', writer._streams[0]) == 2


def test_a_group_that_comes_late_gets_what_is_stored(stage: Any, tools: Any) -> None:
    here = stage()
    writer = here.writer()
    tools.store(writer, tools.make_batch(1))
    reader = here.reader()
    assert tools.numbers(tools.take(reader, 1)) == [1]


def test_batches_of_a_dead_reader_go_to_another(stage: Any, tools: Any) -> None:
    here = stage()
    here.declare('a', 'b')
    writer, a = here.writer(), here.reader('a')
    tools.store(writer, tools.make_batch(1))
    (held,) = tools.take(a, 1)
    a.mark(held, 0b101)
    a.pump()
    tools.settle_down(lambda: a._outbox.empty, a.pump)
    tools.die(a)
    (again,) = tools.take(here.reader('b'), 1)
    assert (again.batch.number, again.deliveries, again.settled) == (1, 2, 0b101)


def test_a_live_reader_keeps_what_it_works_on(stage: Any, tools: Any) -> None:
    here = stage(lease=0.3)
    here.declare('a', 'b')
    writer, a, b = here.writer(), here.reader('a'), here.reader('b')
    tools.store(writer, tools.make_batch(1))
    (held,) = tools.take(a, 1)
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        a.pump()
        assert b.read(0.05) is None
    tools.acknowledge(a, [held])
    assert a.statistics()['lost'] == 0


def test_a_late_settlement_of_a_fenced_reader_is_refused(stage: Any, tools: Any) -> None:
    here = stage(lease=0.2)
    here.declare('a', 'b')
    writer, a, b = here.writer(), here.reader('a'), here.reader('b')
    tools.store(writer, tools.make_batch(1))
    (held,) = tools.take(a, 1)
    (claimed,) = tools.take(b, 1)
    tools.acknowledge(a, [held])
    assert here.admin('XLEN', writer._streams[0]) == 1
    tools.acknowledge(b, [claimed])
    assert here.admin('XLEN', writer._streams[0]) == 0


def test_a_reader_that_was_fenced_notices(stage: Any, tools: Any) -> None:
    here = stage(lease=0.2)
    here.declare('a', 'b')
    writer, a, b = here.writer(), here.reader('a'), here.reader('b')
    tools.store(writer, tools.make_batch(1))
    (held,) = tools.take(a, 1)
    tools.take(b, 1)
    a.extend(held)
    tools.settle_down(lambda: a.statistics()['lost'] == 1, a.pump)
    a.acknowledge(held)
    assert a.statistics()['refused'] == 1


def test_released_batches_are_read_again_at_once(stage: Any, tools: Any) -> None:
    here = stage(lease=30)
    here.declare('a', 'b')
    writer, a, b = here.writer(), here.reader('a'), here.reader('b')
    tools.store(writer, tools.make_batch(1))
    (held,) = tools.take(a, 1)
    a.release(held, 0b10)
    tools.settle_down(lambda: a._outbox.empty, a.pump)
    (again,) = tools.take(b, 1, patience=5)
    assert (again.deliveries, again.settled) == (2, 0b10)


def test_closing_gives_back_what_is_not_settled(stage: Any, tools: Any) -> None:
    here = stage(lease=30)
    here.declare('a', 'b')
    writer, a = here.writer(), here.reader('a')
    a._pace.count = lambda streams: 3
    tools.store(writer, *map(tools.make_batch, (1, 2, 3)))
    tools.take(a, 1)
    a.close()
    a.close()
    again = tools.take(here.reader('b'), 3, patience=5)
    assert sorted((each.batch.number, each.deliveries) for each in again) == [
        (1, 2),
        (2, 1),
        (3, 1),
    ]
    with pytest.raises(ChannelClosed):
        a.read(0)


def end_of(tools: Any, number: int, **fields: Any) -> Any:
    return tools.make_batch(number, b'', flags=Flag.END, count=0, **fields)


def test_the_end_comes_once_to_each_reader_after_everything_is_settled(
    stage: Any, tools: Any
) -> None:
    here = stage()
    here.declare('a', 'b')
    writer, a, b = here.writer(), here.reader('a'), here.reader('b')
    tools.store(writer, tools.make_batch(1), end_of(tools, 2))
    (held,) = tools.take(a, 1)
    assert [b.read(0.1) for _ in range(3)] == [None] * 3
    a.acknowledge(held)
    for reader in (a, b):
        (last,) = tools.take(reader, 1)
        assert last.batch.flags == Flag.END
        assert last.batch.number == 2
        reader.acknowledge(last)
        assert [reader.read(0.05) for _ in range(3)] == [None] * 3


def test_ends_of_several_producers_and_epochs_are_told_apart(stage: Any, tools: Any) -> None:
    here = stage()
    here.declare('r')
    first = here.writer('p')
    tools.store(first, tools.make_batch(1))
    flags = Flag.END | Flag.ABORT | Flag.RETRY
    tools.store(first, tools.make_batch(2, b'why', flags=flags, count=0))
    second, other = here.writer('p', epoch=1), here.writer('q')
    tools.store(second, tools.make_batch(1, epoch=1), end_of(tools, 2, epoch=1))
    tools.store(other, end_of(tools, 1, producer='q'))
    reader, seen = here.reader(), []
    while len(seen) < 5:
        (got,) = tools.take(reader, 1)
        reader.acknowledge(got)
        seen.append((got.batch.producer, got.batch.epoch, got.batch.number, int(got.batch.flags)))
    assert sorted(seen) == [
        ('p', 0, 1, 0),
        ('p', 0, 2, int(flags)),
        ('p', 1, 1, 0),
        ('p', 1, 2, 2),
        ('q', 0, 1, 2),
    ]
    assert reader.read(0.05) is None


def test_each_reader_of_a_shuffle_reads_its_partitions(stage: Any, tools: Any) -> None:
    here = stage(pattern=Pattern.SHUFFLE, partitions=3)
    here.declare('a', 'b', partitions={'g': ['a', 'b', 'a']})
    writer, a, b = here.writer(), here.reader('a'), here.reader('b')
    batches = [tools.make_batch(i + 1, partition=i % 3) for i in range(6)]
    tools.store(writer, *batches, end_of(tools, 7))
    got_a, got_b = tools.take(a, 4), tools.take(b, 2)
    assert {each.batch.partition for each in got_a} == {0, 2}
    assert {each.batch.partition for each in got_b} == {1}
    tools.acknowledge(a, got_a)
    assert a.read(0.1) is None
    tools.acknowledge(b, got_b)
    assert tools.take(a, 1)[0].batch.flags == Flag.END
    assert tools.take(b, 1)[0].batch.flags == Flag.END


def test_replies_reach_the_producer(stage: Any, tools: Any) -> None:
    here = stage(pattern=Pattern.FEEDBACK)
    here.declare('r')
    writer, reader = here.writer(), here.reader()
    tools.store(writer, tools.make_batch(1))
    (request,) = tools.take(reader, 1)
    reader.reply(request, tools.make_batch(1, b'answer', flags=Flag.REPLY, producer='r'))
    tools.acknowledge(reader, [request])
    replies = []
    tools.settle_down(
        lambda: bool(replies), lambda: (writer.pump(0.1), replies.extend(writer.replies()))
    )
    assert [bytes(reply.body) for reply in replies] == [b'answer']
    writer.pump(0.1)
    assert writer.replies() == []


def test_dead_letters_are_kept_until_release(stage: Any, tools: Any) -> None:
    here = stage()
    here.declare('r')
    writer, reader = here.writer(), here.reader()
    tools.store(writer, tools.make_batch(1))
    (poison,) = tools.take(reader, 1)
    reader.bury(poison, tools.make_batch(1, b'poison', flags=Flag.DEAD))
    reader.mark(poison, 1)
    tools.acknowledge(reader, [poison])
    letters = here.architecture.dead_letters(here.channel)
    assert [bytes(letter.body) for letter in letters] == [b'poison']
    here.architecture.release(here.channel)
    with pytest.raises(UsageError, match='not provisioned'):
        here.architecture.dead_letters(here.channel)


@pytest.mark.parametrize(('start', 'expected'), [('begin', [1, 2, 3, 4]), ('3', [3, 4]), ('9', [])])
def test_a_reader_may_start_anywhere(
    stage: Any, tools: Any, start: str, expected: list[int]
) -> None:
    here = stage(replay=True)
    here.declare('r', 'again@other')
    writer, reader = here.writer(), here.reader()
    for i in range(1, 5):
        tools.store(writer, tools.make_batch(i))
    tools.acknowledge(reader, tools.take(reader, 4))
    again = here.reader('again', 'other', start=start)
    assert tools.numbers(tools.take(again, len(expected))) == expected
    assert reader.read(0.05) is None


def test_a_reader_may_start_at_the_end_or_at_a_time(stage: Any, tools: Any) -> None:
    here = stage(replay=True)
    here.declare('r')
    writer = here.writer()
    tools.store(writer, tools.make_batch(1))
    time.sleep(0.01)
    middle = datetime.now(UTC).isoformat()
    time.sleep(0.01)
    tools.store(writer, tools.make_batch(2))
    at_time = here.reader('t', 'time', start=middle)
    at_end = here.reader('e', 'end', start='end')
    tools.store(writer, tools.make_batch(3))
    assert tools.numbers(tools.take(at_time, 2)) == [2, 3]
    assert tools.numbers(tools.take(at_end, 1)) == [3]
    late = here.writer('q')
    tools.store(late, tools.make_batch(1, producer='q'))
    assert tools.take(at_end, 1)[0].batch.producer == 'q'
    with pytest.raises(UsageError, match='offset or an ISO time'):
        here.reader('x', 'x', start='yesterday')


def test_lost_data_is_told_once_and_loudly(stage: Any, tools: Any) -> None:
    here = stage()
    here.declare('r')
    writer, reader = here.writer(), here.reader()
    tools.store(writer, tools.make_batch(1))
    tools.take(reader, 1)
    here.admin('FLUSHALL')
    with pytest.raises(BrokerDataLost, match='frames'):
        tools.store(writer, tools.make_batch(2))
    with pytest.raises(BrokerDataLost):
        tools.take(reader, 1)
    with pytest.raises(BrokerDataLost):
        reader.pump()


def test_release_leaves_nothing_in_the_broker(stage: Any, tools: Any) -> None:
    here = stage(pattern=Pattern.FEEDBACK)
    here.declare('r')
    writer, reader = here.writer(), here.reader()
    tools.store(writer, tools.make_batch(1))
    (held,) = tools.take(reader, 1)
    reader.mark(held, 1)
    reader.reply(held, tools.make_batch(1, flags=Flag.REPLY))
    reader.close()
    endpoint = here.architecture._channels['frames']
    here.architecture.release(here.channel)
    here.architecture._channels['frames'] = endpoint
    assert here.admin('DBSIZE') == 0
    assert here.admin('ACL', 'LIST')[0].startswith(b'user default')
    assert len(here.admin('ACL', 'LIST')) == 1


def test_the_older_way_to_call_lua_works_too(stage: Any, tools: Any) -> None:
    here = stage()
    here.declare('a', 'b')
    public = dict(here.provision.public) | {'functions': False}
    from parsl_streaming_mss.script import Scripts

    for command in Scripts(functions=False).load():
        assert len(here.admin(*command)) == 40
    here.admin('ACL', 'SETUSER', here.provision.secrets['user'], '+evalsha', '+script|load')
    here.provision = type(here.provision)(public, here.provision.secrets)
    writer, a = here.writer(), here.reader('a')
    tools.store(writer, tools.make_batch(1), end_of(tools, 2))
    (held,) = tools.take(a, 1)
    a.release(held, 1)
    (again,) = tools.take(here.reader('b'), 1)
    assert again.settled == 1


def test_a_damaged_entry_is_told_and_the_others_flow_on(stage: Any, tools: Any) -> None:
    here = stage(lease=30)
    here.declare('r')
    writer, reader = here.writer(), here.reader()
    reader._pace.count = lambda streams: 3
    tools.store(writer, tools.make_batch(1))
    here.admin('XADD', writer._streams[0], '9999999999999-1', 'h', 'no head', 'b', 'body')
    here.admin('XADD', writer._streams[0], '9999999999999-2', 'x', 'y')
    with pytest.raises(IntegrityError, match='no writer made'):
        tools.take(reader, 1)
    assert tools.numbers(tools.take(reader, 1)) == [1]


def test_what_an_older_incarnation_stored_is_read_first(stage: Any, tools: Any) -> None:
    here = stage()
    here.declare('r')
    for epoch in range(10):
        tools.store(here.writer(epoch=epoch), tools.make_batch(1, epoch=epoch))
    epochs = [delivery.batch.epoch for delivery in tools.take(here.reader(), 10)]
    assert epochs == list(range(10))
