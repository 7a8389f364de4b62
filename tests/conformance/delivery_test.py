"""Everything sent arrives once, in order, and as what it was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

Stages = Callable[..., Any]

VALUES = [
    b'',
    b'bytes',
    bytearray(b'changes'),
    memoryview(b'view'),
    'text',
    '',
    7,
    1.5,
    None,
    True,
    [1, [2, 3]],
    {'a': 1, 2: 'b'},
    datetime(2026, 1, 2, tzinfo=UTC),
]
ARRAYS: list[Any] = [
    np.arange(6.0).reshape(2, 3),
    np.float32(2.5),
    np.arange(3, dtype='>u2'),
    np.zeros((0, 4), dtype=np.int8),
    np.array([(1, 2.5)], dtype=[('a', 'i4'), ('b', 'f8')]),
    np.arange(12).reshape(3, 4).T,
]


@pytest.mark.parametrize('sealed', [True, False], ids=['sealed', 'unsealed'])
def test_everything_sent_arrives_once_and_in_order(stage: Stages, *, sealed: bool) -> None:
    here = stage(sealed=sealed, batch_messages=16)
    got = here.read()
    sent = here.send(*range(500))
    assert got.result(20) == list(range(500))
    assert sent.result(20) is None


def test_each_producer_keeps_its_own_order(stage: Stages) -> None:
    here = stage(writers=3, batch_messages=8)
    got = here.read(body=lambda message: (message.producer, message.value))
    for name in 'abc':
        here.send(*range(100), writer=here.writer(name))
    received = got.result(20)
    for name in 'abc':
        assert [value for producer, value in received if producer == name] == list(range(100))
    assert len(received) == 300


def test_a_message_has_an_identity_that_counts_up(stage: Stages) -> None:
    here = stage(batch_messages=4)
    got = here.read(body=lambda message: (message.id, message.deliveries, message.redelivered))
    here.send(*range(10), writer=here.writer('p'))
    first = got.result(10)[0][0][2]
    expected = [(('p', 1, first + i), 1, False) for i in range(10)]
    assert got.result(10) == expected


def test_plain_values_arrive_as_they_were(stage: Stages) -> None:
    here = stage()
    got = here.read()
    here.send(*VALUES)
    assert got.result(10) == VALUES


def test_arrays_arrive_as_they_were(stage: Stages) -> None:
    here = stage()
    got = here.read()
    here.send(*ARRAYS)
    for sent, received in zip(ARRAYS, got.result(10), strict=True):
        assert (received.dtype, received.shape) == (sent.dtype, sent.shape)
        assert np.array_equal(received, sent)
        if received.shape and received.size:
            assert not received.flags.writeable


def test_arrow_tables_and_batches_arrive_as_they_were(stage: Stages) -> None:
    here = stage()
    batch = pa.record_batch({'x': [1, 2, 3], 'name': ['a', 'b', None]})
    table = pa.Table.from_batches([batch, batch])
    got = here.read()
    here.send(batch, table)
    received = got.result(10)
    assert received == [batch, table]


def test_anything_arrives_where_pickle_is_declared(stage: Stages) -> None:
    here = stage(pickle=True)
    got = here.read()
    here.send({1, 2}, complex(1, 2), range(3))
    assert got.result(10) == [{1, 2}, complex(1, 2), range(3)]


def test_keys_and_headers_travel_beside_the_value(stage: Stages) -> None:
    here = stage()
    got = here.read(body=lambda message: (message.value, message.key, dict(message.headers)))
    writer = here.writer()
    writer.send(1, key='k', headers={'run': 7})
    here.send(2, writer=writer)
    assert got.result(10) == [(1, 'k', {'run': 7}), (2, None, {})]


def test_what_changes_after_send_does_not_change_the_message(stage: Stages) -> None:
    here = stage()
    got = here.read()
    array, data = np.zeros(100_000), bytearray(10)
    writer = here.writer()
    writer.send(array)
    writer.send(data)
    array[:] = 1
    data[:] = b'x' * 10
    writer.close()
    first, second = got.result(10)
    assert first.sum() == 0
    assert second == bytes(10)


def test_a_message_larger_than_batch_and_credit_travels_alone(stage: Stages) -> None:
    here = stage(batch='64 KiB', credit='128 KiB')
    large = bytes(range(256)) * 4096
    got = here.read(body=lambda message: bytes(message.data))
    here.send(b'small', large, b'small', large)
    assert got.result(20) == [b'small', large, b'small', large]


def test_many_threads_may_send(stage: Stages) -> None:
    here = stage(batch_messages=16)
    got = here.read()
    writer = here.writer()

    def some(first: int) -> None:
        for value in range(first, first + 50):
            writer.send(value)

    for done in [here.run(some, 50 * i) for i in range(4)]:
        done.result(10)
    writer.close()
    assert sorted(got.result(10)) == list(range(200))


def test_messages_come_one_by_one_and_in_bunches(stage: Stages) -> None:
    here = stage(batch_messages=4)
    reader = here.reader()
    here.send(*range(20))
    got = [reader.receive(5).value]
    while len(got) < 20:
        bunch = reader.receive_many(3, 5)
        assert 1 <= len(bunch) <= 3
        got += [message.value for message in bunch]
        for message in bunch:
            message.ack()
    assert got == list(range(20))
