from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_streaming.errors import IntegrityError
from parsl_streaming.packing import OpenBatch
from parsl_streaming.packing import Packer
from parsl_streaming.packing import Unpacker
from parsl_streaming.packing import channel_id
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Flag

CHANNEL = channel_id('session', 'frames')
SECRET = bytes(range(32))
SECRETS = st.sampled_from([None, SECRET])
PAYLOADS = st.lists(
    st.tuples(st.binary(max_size=40), st.none() | st.integers(0, 3)), min_size=1, max_size=30
)


def fill(messages: list[tuple[bytes, Any]]) -> OpenBatch:
    batch = OpenBatch()
    for data, key in messages:
        batch.add(data, (0, None, key, None, None))
    return batch


def packer(secret: bytes | None = SECRET) -> Packer:
    return Packer('p', 3, CHANNEL, secret)


def unpacker(secret: bytes | None = SECRET, max_bytes: int = 1 << 20) -> Unpacker:
    return Unpacker(CHANNEL, secret, max_bytes)


@given(st.lists(PAYLOADS, min_size=1, max_size=4), SECRETS, st.integers(0, 99))
def test_any_batches_come_back(
    batches: list[list[tuple[bytes, Any]]], secret: bytes | None, partition: int
) -> None:
    sender, receiver = packer(secret), unpacker(secret)
    seq = 0
    for number, messages in enumerate(batches, 1):
        batch = sender.pack(fill(messages), partition, floor=number)
        opened = receiver.open(batch)
        header = opened.header
        assert (header.producer, header.epoch, header.number) == ('p', 3, number)
        assert (header.seq, header.floor, header.partition) == (seq, number, partition)
        assert header.count == batch.count == len(messages)
        for i, (data, key) in enumerate(messages):
            assert bytes(opened.body[opened.starts[i] : opened.starts[i + 1]]) == data
            assert opened.index.row(i)[2] == key
        seq += len(messages)


@given(PAYLOADS, SECRETS, st.data())
def test_any_change_is_noticed(
    messages: list[tuple[bytes, Any]], secret: bytes | None, data: st.DataObject
) -> None:
    batch = packer(secret).pack(fill(messages))
    head, body = bytearray(batch.head), bytearray(batch.body)
    whole = data.draw(st.sampled_from([head, body] if body else [head]))
    # The last eight bytes of a sealed head are zero and mean nothing: the tag is the check.
    last = len(whole) - 1 - (8 if whole is head and secret else 0)
    whole[data.draw(st.integers(0, last))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(IntegrityError):
        unpacker(secret).open(replace(batch, head=bytes(head), body=bytes(body)))


@given(st.binary(max_size=300), st.binary(max_size=100), SECRETS)
def test_nothing_but_an_integrity_error_comes_of_garbage(
    head: bytes, body: bytes, secret: bytes | None
) -> None:
    batch = Batch('p', 1, 1, 1, 0, Flag.NONE, head, body)
    with pytest.raises(IntegrityError):
        unpacker(secret).open(batch)


def test_an_end_says_why() -> None:
    batch = packer().pack_end(Flag.ABORT, 'no beam')
    opened = unpacker().open(batch)
    assert batch.flags == Flag.END | Flag.ABORT | Flag.SEALED
    assert (bytes(opened.body), batch.count) == (b'no beam', 0)


def test_ends_must_agree_on_the_seal() -> None:
    batch = packer(None).pack(fill([(b'x', None)]))
    with pytest.raises(IntegrityError, match='mixed'):
        unpacker(SECRET).open(batch)
    with pytest.raises(IntegrityError, match='mixed'):
        unpacker(None).open(packer(SECRET).pack(fill([(b'x', None)])))


def test_a_batch_of_another_channel_or_secret_is_refused() -> None:
    batch = packer().pack(fill([(b'x', None)]))
    with pytest.raises(IntegrityError, match='another channel'):
        Unpacker(channel_id('session', 'peaks'), SECRET, 100).open(batch)
    with pytest.raises(IntegrityError, match='cannot be opened'):
        unpacker(bytes(32)).open(batch)


def test_a_batch_above_the_limit_is_refused() -> None:
    batch = packer().pack(fill([(bytes(1000), None)]))
    with pytest.raises(IntegrityError, match='too large'):
        unpacker(max_bytes=999).open(batch)
    assert len(unpacker(max_bytes=1000).open(batch).body) == 1000


def test_a_single_payload_is_not_copied() -> None:
    payload = bytes(1000)
    assert packer(None).pack(fill([(payload, None)])).body is payload


def test_a_batch_may_be_taken_apart() -> None:
    rest = fill([(b'a', 1), (b'bb', 2), (b'ccc', 3)])
    oldest = rest.take(2)
    assert (oldest.nbytes, rest.nbytes) == (3, 3)
    assert [bytes(b.body()) for b in (oldest, rest)] == [b'abb', b'ccc']
    assert oldest.sent == rest.sent > 0


def test_a_channel_of_another_session_has_another_id() -> None:
    ids = {channel_id(s, c) for s in ('one', 'two') for c in ('frames', 'peaks')}
    assert len(ids) == 4
    assert {len(each) for each in ids} == {8}
