"""What the writer of a direct link keeps, and to whom it gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from parsl_streaming.errors import ChannelFull
from parsl_streaming.seam import Flag
from parsl_streaming.spec import Pattern
from parsl_streaming_dts import control
from parsl_streaming_dts import writer as module

Stages = Callable[..., Any]


def _kill(reader: Any) -> None:
    """End as a killed process does: the sockets close, nothing is said."""
    reader._closed = True
    reader._control.close(0)
    for flow in reader._inflow._by_file.values():
        flow.stream.close()
    reader._inflow._door.close()
    reader._context.zmq.term()


def test_a_batch_is_kept_until_it_is_settled(stage: Stages) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()
    here.connect(writer, reader)
    writer.write(here.batch(), 5)
    assert (writer.safe, writer.floor) == (0, 1)
    reader.acknowledge(here.take(reader, writer))
    here.until(lambda: writer.safe == 1, lambda: writer.pump(0.01), reader.pump)
    assert writer.floor == 2


def test_what_a_killed_reader_held_goes_to_another(
    stage: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, '_GRACE', 0.1)
    here = stage()
    victim, other, writer = here.reader('victim'), here.reader('other'), here.writer()
    here.connect(writer, victim, other)
    writer.write(here.batch(b'one'), 5)
    writer.write(here.batch(b'two'), 5)
    first = here.take(victim, writer)
    victim.mark(first, 0b1)
    second = here.take(other, writer)
    here.until(lambda: writer._ledger.entries[1].settled, lambda: writer.pump(0.01))
    _kill(victim)
    again = here.take(other, writer)
    assert again.batch.number == first.batch.number
    assert (again.deliveries, again.settled) == (2, 0b1)
    assert writer.statistics()['redelivered'] == 1
    assert second.deliveries == 1


def test_a_batch_waits_for_the_reader_that_comes_after_a_death(
    stage: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, '_GRACE', 0.1)
    here = stage()
    victim, writer = here.reader(), here.writer()
    here.connect(writer, victim)
    writer.write(here.batch(b'kept'), 5)
    here.take(victim, writer)
    _kill(victim)
    here.until(
        lambda: not writer._peers or writer.statistics()['redelivered'], lambda: writer.pump(0.01)
    )
    heir = here.reader(epoch=2)
    again = here.take(heir, writer)
    assert (bytes(again.batch.body), again.deliveries) == (b'kept', 2)


def test_what_a_leaving_reader_held_goes_to_another_and_counts_once(stage: Stages) -> None:
    here = stage()
    leaver, other, writer = here.reader('leaver'), here.reader('other'), here.writer()
    here.connect(writer, leaver)
    writer.write(here.batch(b'work'), 5)
    holder = leaver
    delivery = here.take(holder, writer)
    holder.release(delivery, 0)
    leaver.close()
    again = here.take(other, writer)
    assert (bytes(again.batch.body), again.deliveries) == (b'work', 2)


def test_the_last_words_of_a_reader_are_heard_after_the_registry_knows_its_successor(
    stage: Stages,
) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()
    here.connect(writer, reader)
    writer.write(here.batch(b'settled'), 5)
    reader.acknowledge(here.take(reader, writer))
    successor = here.reader(epoch=2)
    for _ in range(3):
        writer.pump(0.01)
    reader.close()
    here.until(lambda: writer.safe == 1, lambda: writer.pump(0.01), successor.pump)
    assert writer.statistics()['redelivered'] == 0
    met = writer._peers.get
    here.until(
        lambda: (peer := met('r')) is not None and peer.epoch == 2 and peer.greeted,
        lambda: writer.pump(0.01),
        successor.pump,
    )
    writer.write(here.batch(b'next'), 5)
    assert bytes(here.take(successor, writer).batch.body) == b'next'


def test_each_group_gets_every_batch_and_all_must_settle_it(stage: Stages) -> None:
    here = stage()
    readers = [here.reader(group, group) for group in ('live', 'archive')]
    writer = here.writer()
    here.connect(writer, *readers)
    writer.write(here.batch(), 5)
    deliveries = [here.take(reader, writer) for reader in readers]
    readers[0].acknowledge(deliveries[0])
    here.until(
        lambda: writer._ledger.entries[1].owed == {'archive'},
        lambda: writer.pump(0.01),
        readers[0].pump,
    )
    assert writer.safe == 0
    readers[1].acknowledge(deliveries[1])
    here.until(lambda: writer.safe == 1, lambda: writer.pump(0.01), readers[1].pump)


def test_without_credit_a_write_is_refused_and_says_why(stage: Stages) -> None:
    here = stage(credit_messages=2)
    writer = here.writer()
    with pytest.raises(ChannelFull, match='no reader of any group'):
        writer.write(here.batch(), 0.05)
    reader = here.reader()
    here.connect(writer, reader)
    writer.write(here.batch(), 5)
    writer.write(here.batch(), 5)
    with pytest.raises(ChannelFull, match='gave no credit'):
        writer.write(here.batch(), 0.05)
    assert len(writer._ledger.entries) == 2
    assert writer.room().messages == 0


def test_a_reader_that_waits_with_its_hands_full_gets_more(stage: Stages) -> None:
    """It may want several messages before it settles the first."""
    here = stage(credit_messages=16)
    reader, writer = here.reader(), here.writer()
    here.connect(writer, reader)
    held = []
    for _ in range(16):
        here.until(
            lambda: writer.room().messages > 0,
            lambda: writer.pump(0.0, waiting=True),
            lambda: reader.read(0.005),
        )
        writer.write(here.batch(), 0)
        held.append(here.take(reader, writer))
    assert [delivery.batch.number for delivery in held] == list(range(1, 17))


def test_a_reader_that_is_busy_gets_no_more_than_its_small_window(stage: Stages) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()
    here.connect(writer, reader)
    writer.write(here.batch(), 5)
    writer.write(here.batch(), 5)
    with pytest.raises(ChannelFull):
        writer.write(here.batch(), 0.1)


def test_a_partition_goes_to_its_holder(stage: Stages) -> None:
    here = stage(pattern=Pattern.SHUFFLE, partitions=2)
    readers = {name: here.reader(name) for name in ('zero', 'one')}
    here.deal('g', 'zero', 'one')
    writer = here.writer()
    here.connect(writer, *readers.values())
    for partition in (1, 0):
        writer.write(here.batch(partition=partition), 5)
    assert here.take(readers['one'], writer).batch.partition == 1
    assert here.take(readers['zero'], writer).batch.partition == 0


def test_an_end_reaches_every_reader(stage: Stages) -> None:
    here = stage()
    readers = [here.reader(name) for name in 'rs']
    writer = here.writer()
    here.connect(writer, *readers)
    writer.write(here.end(), 5)
    for reader in readers:
        assert Flag.END in here.take(reader, writer).batch.flags


def test_replies_come_back(stage: Stages) -> None:
    here = stage(pattern=Pattern.FEEDBACK)
    reader, writer = here.reader(), here.writer()
    here.connect(writer, reader)
    writer.write(here.batch(), 5)
    delivery = here.take(reader, writer)
    for size in (1, 1 << 20):
        reader.reply(delivery, here.batch(bytes(size), name='r'))
    found: list[Any] = []
    here.until(
        lambda: len(found) == 2, lambda: writer.pump(0.01), lambda: found.extend(writer.replies())
    )
    assert [len(batch.body) for batch in found] == [1, 1 << 20]


@pytest.mark.parametrize('parts', [(b'garbage', b''), (b'', b'b'), (b'PSB1' + bytes(200), b'c')])
def test_garbage_instead_of_replies_is_nothing(stage: Stages, parts: tuple[bytes, bytes]) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()
    here.connect(writer, reader)
    writer.write(here.batch(b'first'), 5)
    here.take(reader, writer)
    (flow,) = reader._inflow._by_file.values()
    flow.stream.send(*parts)
    for _ in range(10):
        writer.pump(0.01)
    assert writer.replies() == []
    writer.write(here.batch(b'fine'), 5)
    assert bytes(here.take(reader, writer).batch.body) == b'fine'


@pytest.mark.parametrize(
    'message',
    [
        b'\xc1',
        control.encode('no such kind'),
        control.encode(control.ACK, 7),
        control.encode(control.ACK, [99, -1]),
        control.encode(control.GRANT, 'many', 'more'),
        control.encode(control.MARK, 99, b'\x01'),
        control.encode(control.RELEASE, 99, b''),
    ],
)
def test_nonsense_of_a_reader_is_nothing(stage: Stages, message: bytes) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()
    here.connect(writer, reader)
    source = next(iter(reader._sources.values()))
    reader._control.send_multipart([source.control, message])
    for _ in range(5):
        writer.pump(0.01)
    writer.write(here.batch(b'fine'), 5)
    assert bytes(here.take(reader, writer).batch.body) == b'fine'


def test_a_reader_settles_only_what_it_holds(stage: Stages) -> None:
    here = stage()
    holder, other, writer = here.reader('holder'), here.reader('other'), here.writer()
    here.connect(writer, holder, other)
    writer.write(here.batch(), 5)
    name = writer._ledger.entries[1].holders['g']
    idle = other if name == 'holder' else holder
    source = next(iter(idle._sources.values()))
    idle._tell(source, control.ACK, [1])
    for _ in range(5):
        writer.pump(0.01)
    assert writer.safe == 0


def test_a_broadcast_goes_on_without_the_reader_that_left(stage: Stages) -> None:
    here = stage(pattern=Pattern.BROADCAST)
    leaver, stayer, writer = here.reader('l', 'l'), here.reader('s', 's'), here.writer()
    here.connect(writer, leaver, stayer)
    writer.write(here.batch(), 5)
    leaver.close()
    here.change('reader', 'l', state='closed')
    stayer.acknowledge(here.take(stayer, writer))
    here.until(lambda: writer.safe == 1, lambda: writer.pump(0.01), stayer.pump)
    writer.write(here.batch(), 5)
    assert here.take(stayer, writer).batch.number == 2


def test_closing_twice_is_closing(stage: Stages) -> None:
    here = stage()
    writer = here.writer()
    writer.close()
    writer.close()
    assert writer.statistics() == {'redelivered': 0, 'readers': 0}
