"""How the messages of a channel are shared among its readers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from parsl_streaming.errors import ChannelClosed
from parsl_streaming.errors import ChannelTimeout
from parsl_streaming.errors import EndOfStream
from parsl_streaming.errors import RequestRejected
from parsl_streaming.errors import UsageError

Stages = Callable[..., Any]


def test_readers_of_one_group_share_the_messages(stage: Stages) -> None:
    here = stage(batch_messages=2, credit_messages=4)
    results = [here.read(here.reader()) for _ in range(3)]
    here.send(*range(200))
    shares = [result.result(20) for result in results]
    assert sorted(value for share in shares for value in share) == list(range(200))
    for share in shares:
        assert share == sorted(share)


def test_a_slow_reader_does_not_hold_up_the_others(stage: Stages) -> None:
    here = stage(batch_messages=1, credit_messages=8)
    slow, quick = here.reader(), here.read(here.reader())
    writer = here.writer()
    here.send(*range(60), writer=writer)
    held = slow.receive(5)
    here.until(lambda: here.readers[1].statistics().messages >= 40)
    held.ack()
    rest = here.read(slow)
    assert sorted([held.value, *rest.result(10), *quick.result(10)]) == list(range(60))


def test_each_group_sees_every_message(stage: Stages) -> None:
    here = stage(batch_messages=4)
    results = [here.read(here.reader(group=group)) for group in ('live', 'live', 'archive')]
    here.send(*range(100))
    first, second, archive = (result.result(20) for result in results)
    assert sorted(first + second) == list(range(100))
    assert archive == list(range(100))


def test_a_broadcast_reaches_every_reader(stage: Stages) -> None:
    here = stage(pattern='broadcast', readers=3, batch_messages=8)
    results = [here.read(here.reader()) for _ in range(3)]
    here.send(*range(50))
    assert [result.result(20) for result in results] == [list(range(50))] * 3


def test_a_broadcast_waits_for_its_declared_readers(stage: Stages) -> None:
    here = stage(pattern='broadcast', readers=2)
    first = here.read(here.reader())
    sent = here.send(*range(5))
    second = here.read(here.reader())
    assert [first.result(10), second.result(10)] == [list(range(5))] * 2
    assert sent.result(10) is None


def test_a_broadcast_goes_on_without_a_reader_that_left(stage: Stages) -> None:
    here = stage(pattern='broadcast', readers=2, batch_messages=1)
    leaver, stayer = here.reader(), here.read(here.reader())
    sent = here.send(*range(20))
    leaver.receive(5)
    leaver.close()
    assert stayer.result(10) == list(range(20))
    assert sent.result(10) is None


def test_a_broadcast_waits_for_the_retry_of_a_reader(stage: Stages) -> None:
    here = stage(pattern='broadcast', readers=2, batch_messages=1)
    failing, other = here.reader('r', call='task'), here.read(here.reader())
    sent = here.send(*range(20))
    assert failing.receive(5).value == 0
    failing.abandon(retry=True)
    retried = here.read(here.reader('r', call='task'))
    assert retried.result(10) == list(range(20))
    assert other.result(10) == list(range(20))
    assert sent.result(10) is None


@pytest.mark.parametrize('pattern', ['broadcast', 'gather'])
def test_the_order_of_a_broadcast_survives_readers_that_fail(stage: Stages, pattern: str) -> None:
    here = stage(pattern=pattern, readers=1, batch_messages=2, credit_messages=32)
    first = here.reader('r', call='task')
    here.send(*range(200))
    done: list[int] = []
    for count in (7, 1, 30, 12):
        reader = here.reader('r', call='task') if done else first
        done += [reader.receive(5).value for _ in range(count)][:-1]
        reader.abandon(retry=True)
    done += here.read(here.reader('r', call='task')).result(10)
    assert done == list(range(200))


def test_a_request_gets_the_reply_of_its_reader(stage: Stages) -> None:
    here = stage(pattern='feedback')
    for _ in range(2):
        here.read(here.reader(), body=lambda message: message.reply(message.value * 2))
    writer = here.writer()
    replies = [writer.request(i) for i in range(50)]
    assert [reply.result(10) for reply in replies] == [2 * i for i in range(50)]
    writer.close()
    assert writer.statistics().replies == 50


def test_replies_go_to_the_writer_that_asked(stage: Stages) -> None:
    here = stage(pattern='feedback', writers=2)
    here.read(body=lambda message: message.reply([message.producer, message.value]))
    one, two = here.writer('one'), here.writer('two')
    pairs = [(one.request(i), two.request(i)) for i in range(10)]
    for i, (first, second) in enumerate(pairs):
        assert first.result(10) == ['one', i]
        assert second.result(10) == ['two', i]
    one.close()
    two.close()


@pytest.mark.parametrize('settle', ['ack', 'reject'])
def test_a_request_that_is_settled_without_a_reply_is_rejected(stage: Stages, settle: str) -> None:
    here = stage(pattern='feedback')
    refuse = {'ack': lambda m: m.ack(), 'reject': lambda m: m.reject('not today')}
    here.read(body=refuse[settle])
    writer = here.writer()
    with pytest.raises(RequestRejected, match=r'without a reply|not today'):
        writer.request('please').result(10)
    writer.close()


def test_a_request_fails_when_the_writer_closes_first(stage: Stages) -> None:
    here = stage(pattern='feedback', timeout='300 ms')
    writer = here.writer()
    here.reader()
    reply = writer.request('please')
    writer.abort('enough')
    with pytest.raises(ChannelClosed):
        reply.result(1)


def test_a_request_that_nobody_answers_times_out(stage: Stages) -> None:
    here = stage(pattern='feedback')
    here.reader()
    reply = here.writer().request('please')
    with pytest.raises(TimeoutError):
        reply.result(0.2)


def test_only_a_request_has_a_reply(stage: Stages) -> None:
    here = stage()
    reader = here.reader()
    writer = here.writer()
    writer.send(1)
    with pytest.raises(UsageError, match='request'):
        reader.receive(5).reply(2)
    with pytest.raises(UsageError, match='feedback'):
        writer.request(1)


def test_a_gather_gives_one_reply_from_every_reader(stage: Stages) -> None:
    here = stage(pattern='gather', readers=3)
    for factor in (1, 10, 100):
        here.read(here.reader(f'r{factor}'), body=lambda m, f=factor: m.reply(m.value * f))
    writer = here.writer()
    replies = [writer.request(i) for i in range(10)]
    assert [reply.result(10) for reply in replies] == [[i, 10 * i, 100 * i] for i in range(10)]
    writer.close()


def test_a_key_always_goes_to_one_reader_in_order(stage: Stages) -> None:
    here = stage(pattern='shuffle', partitions=8, readers=3, batch_messages=4)
    results = [here.read(here.reader(), body=lambda m: (m.key, m.value)) for _ in range(3)]
    writer = here.writer()

    def send() -> None:
        for i in range(200):
            writer.send(i, key=f'key{i % 20}')
        writer.close()

    here.run(send)
    shares = [result.result(20) for result in results]
    homes: dict[str, set[int]] = {}
    for reader, share in enumerate(shares):
        for key, _ in share:
            homes.setdefault(key, set()).add(reader)
    assert all(len(readers) == 1 for readers in homes.values())
    together = [pair for share in shares for pair in share]
    for key in homes:
        values = [value for own, value in together if own == key]
        assert values == list(range(int(key[3:]), 200, 20))


def test_a_shuffled_message_needs_a_key(stage: Stages) -> None:
    here = stage(pattern='shuffle', partitions=2)
    with pytest.raises(UsageError, match='key='):
        here.writer().send(1)


def test_partitions_of_a_reader_that_left_go_to_another(stage: Stages) -> None:
    here = stage(pattern='shuffle', partitions=4, batch_messages=1, credit_messages=8)
    leaver, stayer = here.reader(), here.reader()
    writer = here.writer()

    def send() -> None:
        for i in range(100):
            writer.send(i, key=i)
        writer.close()

    rest = here.read(stayer)
    here.run(send)
    first = leaver.receive(5)
    first.ack()
    leaver.close()
    assert sorted([first.value, *rest.result(20)]) == list(range(100))


def test_the_order_of_a_key_survives_readers_that_come_and_go(stage: Stages) -> None:
    here = stage(pattern='shuffle', partitions=6, batch_messages=2, credit_messages=8)
    order: list[tuple[int, int]] = []

    def body(message: Any) -> None:
        order.append((message.key, message.value))

    leaver = here.reader()
    stayer = here.read(here.reader(), body=body)
    writer = here.writer()

    def send() -> None:
        for i in range(300):
            writer.send(i, key=i % 7)
        writer.close()

    sent = here.run(send)
    for _ in range(20):
        body(leaver.receive(5))
    leaver.close()
    joiner = here.read(here.reader(), body=body)
    for done in (sent, stayer, joiner):
        done.result(10)
    assert len(order) == 300
    for key in range(7):
        assert [value for own, value in order if own == key] == list(range(key, 300, 7))


def test_the_order_of_a_key_survives_a_reader_that_fails(stage: Stages) -> None:
    here = stage(pattern='shuffle', partitions=6, batch_messages=2, credit_messages=32)
    order: list[tuple[int, int]] = []

    def body(message: Any) -> None:
        order.append((message.key, message.value))

    failing = here.reader()
    writer = here.writer()

    def send() -> None:
        for i in range(300):
            writer.send(i, key=i % 7)
        writer.close()

    sent = here.run(send)
    message = failing.receive(5)
    for _ in range(20):
        body(message)
        message = failing.receive(5)
    stayer = here.read(here.reader(), body=body)
    failing.abandon()
    heir = here.read(here.reader(), body=body)
    for done in (sent, stayer, heir):
        done.result(10)
    assert len(order) == 300
    for key in range(7):
        assert [value for own, value in order if own == key] == list(range(key, 300, 7))


def test_the_order_of_a_key_survives_partitions_that_move_while_it_flows(stage: Stages) -> None:
    here = stage(pattern='shuffle', partitions=6, batch_messages=2, credit_messages=32)
    order: list[tuple[int, int]] = []

    def work(reader: Any, until: threading.Event) -> None:
        with reader, suppress(EndOfStream):
            while not until.is_set():
                with suppress(ChannelTimeout):
                    message = reader.receive(0.05)
                    order.append((message.key, message.value))

    shifts = [threading.Event() for _ in range(6)]
    begun = []
    writer = here.writer()
    for i in range(600):
        if i % 50 == 0 and len(begun) < len(shifts):
            begun.append(here.run(work, here.reader(), shifts[len(begun)]))
        if i % 50 == 25 and len(begun) >= 4:
            shifts[len(begun) - 4].set()
        writer.send(i, key=i % 7)
    writer.close()
    for done in begun:
        done.result(20)
    assert len(order) == 600
    for key in range(7):
        assert [value for own, value in order if own == key] == list(range(key, 600, 7))
