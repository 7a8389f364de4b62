"""What a reader says of a message, and what happens when it fails to say it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from parsl_streaming.errors import ChannelTimeout
from parsl_streaming.errors import EndOfStream

Stages = Callable[..., Any]


def test_a_message_is_acknowledged_when_the_next_is_asked_for(stage: Stages) -> None:
    here = stage(batch_messages=1)
    reader, writer = here.reader(), here.writer()
    here.send(1, 2, writer=writer)
    reader.receive(5)
    assert reader.statistics().acknowledged == 0
    reader.receive(5)
    assert reader.statistics().acknowledged == 1
    reader.close()
    assert reader.statistics().acknowledged == 2


def test_a_manual_reader_acknowledges_nothing_by_itself(stage: Stages, *, stores: bool) -> None:
    here = stage(batch_messages=1)
    reader, writer = here.reader(manual=True), here.writer()
    writer.send(1)
    message = reader.receive(5)
    with pytest.raises(ChannelTimeout):
        reader.receive(0.1)
    assert reader.statistics().acknowledged == 0
    if not stores:
        with pytest.raises(ChannelTimeout):
            writer.flush(0.1)
    message.ack()
    message.ack()
    writer.flush(5)
    assert reader.statistics().acknowledged == 1


def test_a_nacked_message_comes_again_marked_as_redelivered(stage: Stages) -> None:
    here = stage(batch_messages=4)
    seen: list[tuple[int, int]] = []

    def body(message: Any) -> None:
        seen.append((message.value, message.deliveries))
        if message.value == 2 and not message.redelivered:
            message.nack()

    done = here.read(body=body)
    here.send(*range(4))
    done.result(10)
    assert sorted(seen) == [(0, 1), (1, 1), (2, 1), (2, 2), (3, 1)]


def test_a_nack_with_delay_lets_the_others_pass(stage: Stages) -> None:
    here = stage()
    order: list[int] = []

    def body(message: Any) -> None:
        order.append(message.value)
        if message.value == 0 and not message.redelivered:
            message.nack(delay=0.2)

    done = here.read(body=body)
    here.send(*range(10))
    done.result(10)
    assert order == [*range(10), 0]


def test_a_message_whose_body_raised_goes_to_another_reader(stage: Stages) -> None:
    here = stage(batch_messages=1)
    writer = here.writer()
    first = here.reader()
    here.send('work', writer=writer)
    with pytest.raises(ZeroDivisionError), first:
        assert 1 / first.receive(5).redelivered
    second = here.reader()
    message = second.receive(5)
    assert (message.value, message.redelivered, message.deliveries) == ('work', True, 2)
    with pytest.raises(EndOfStream):
        second.receive(5)


def test_settled_messages_of_a_half_done_batch_are_not_delivered_again(stage: Stages) -> None:
    here = stage(batch_messages=8, linger='1 s')
    first = here.reader()
    here.send(*range(32), writer=here.writer())
    done: list[int] = []
    while not done or done[-1] % 8 != 3 or done[-1] < 8:
        done.append(first.receive(5).value)
    first.abandon()
    rest = here.read().result(10)
    assert sorted({*done, *rest}) == list(range(32))
    assert not {*done[:-1]} & {*rest}
    assert done[-1] in rest


def test_work_that_was_not_handed_out_goes_back_at_close(stage: Stages) -> None:
    here = stage(batch_messages=4)
    first = here.reader()
    here.send(*range(12))
    taken = first.receive(5).value
    first.close()
    second = here.read(body=lambda message: message.value)
    assert [taken, *sorted(second.result(10))] == list(range(12))


def test_what_a_poison_message_does_is_bounded(stage: Stages) -> None:
    """Each reader dies of it, until it is put aside; the others flow on."""
    here = stage(batch_messages=4, max_deliveries=3)
    here.send(*range(8))
    done: list[int] = []
    deaths = 0
    while True:
        reader = here.reader()
        try:
            with reader:
                for message in reader:
                    assert 1 / (5 - message.value)
                    done.append(message.value)
        except ZeroDivisionError:
            deaths += 1
            assert deaths <= 3
            continue
        break
    assert sorted(done) == [0, 1, 2, 3, 4, 6, 7]
    letters = here.session.dead_letters('frames')
    here.until(lambda: len(here.session.dead_letters('frames')) == 1)
    letters = here.session.dead_letters('frames')
    assert [letter.value for letter in letters] == [5]
    assert 'failed' in letters[0].reason


def test_a_message_nacked_too_often_becomes_a_dead_letter(stage: Stages) -> None:
    here = stage(max_deliveries=3)
    tries = []

    def body(message: Any) -> None:
        if message.value == 'bad':
            tries.append(message.deliveries)
            message.nack(reason='cannot be parsed')

    done = here.read(body=body)
    here.send('good', 'bad', 'good')
    done.result(10)
    assert tries == [1, 2, 3]
    here.until(lambda: here.session.dead_letters('frames'))
    letter = here.session.dead_letters('frames')[0]
    assert (letter.value, letter.reason, letter.deliveries) == ('bad', 'cannot be parsed', 3)


def test_a_rejected_message_becomes_a_dead_letter_with_all_it_carried(stage: Stages) -> None:
    here = stage()
    got = here.read(body=lambda m: m.reject('not a frame') if m.key == 'k' else m.value)
    writer = here.writer('camera')
    writer.send([1, 2], key='k', headers={'run': 7})
    here.send('good', writer=writer).result(10)
    assert got.result(10) == [None, 'good']
    here.until(lambda: here.session.dead_letters('frames'))
    letter = here.session.dead_letters('frames')[0]
    assert (letter.value, letter.key, letter.headers) == ([1, 2], 'k', {'run': 7})
    assert letter.id[0] == 'camera'
    assert (letter.reason, letter.deliveries) == ('not a frame', 1)
    assert here.session.statistics('frames').dead_letters == 1


def test_a_message_in_progress_stays_with_its_reader(stage: Stages) -> None:
    here = stage(lease='300 ms', batch_messages=1)
    reader, other = here.reader(), here.reader()
    here.send(1)
    holders = [r for r in (reader, other) if _has(r)]
    assert len(holders) == 1
    idle = other if holders[0] is reader else reader
    message = holders[0].receive(0.1) if holders[0]._last is None else None
    assert message is None
    for _ in range(8):
        holders[0].tick()
        with pytest.raises(ChannelTimeout):
            idle.receive(0.1)
    holders[0].close()
    assert holders[0].statistics().acknowledged == 1


def _has(reader: Any) -> bool:
    try:
        reader.receive(0.3).in_progress()
    except ChannelTimeout:
        return False
    return True


def test_messages_may_be_settled_in_any_order_from_any_thread(stage: Stages) -> None:
    here = stage(batch_messages=4)
    reader = here.reader(manual=True)
    sent = here.send(*range(12))
    messages = [reader.receive(5) for _ in range(12)]
    for done in [here.run(message.ack) for message in reversed(messages)]:
        done.result(5)
    with pytest.raises(EndOfStream):
        reader.receive(5)
    assert sent.result(5) is None
    assert reader.statistics().acknowledged == 12
