from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_streaming.errors import IntegrityError
from parsl_streaming.seam import Flag
from parsl_streaming.wire import MAX_BATCH_MESSAGES
from parsl_streaming.wire import Header
from parsl_streaming.wire import checked
from parsl_streaming.wire import decode_batch
from parsl_streaming.wire import decode_header
from parsl_streaming.wire import encode_head
from parsl_streaming.wire import verify_checksum

U64 = st.integers(0, (1 << 64) - 1)
HEADERS = st.builds(
    Header,
    flags=st.sampled_from([Flag.NONE, Flag.SEALED, Flag.END | Flag.ABORT, Flag.REPLY, Flag.DEAD]),
    partition=st.integers(0, (1 << 16) - 1),
    epoch=st.integers(0, (1 << 32) - 1),
    count=st.integers(0, MAX_BATCH_MESSAGES),
    number=U64,
    seq=U64,
    floor=U64,
    sent=st.floats(allow_nan=False),
    channel=st.binary(min_size=8, max_size=8),
    salt=st.binary(min_size=16, max_size=16),
    producer=st.text(st.characters(codec='utf-8'), max_size=30),
)


def make(header: Header, index: bytes = b'index', body: bytes = b'body') -> bytes:
    return checked(encode_head(header, index, len(body)), body, sealed=False)


@given(HEADERS, st.binary(max_size=50), st.binary(max_size=50))
def test_a_head_comes_back(header: Header, index: bytes, body: bytes) -> None:
    head = make(header, index, body)
    back, inside = decode_header(head, len(body))
    assert back == header
    assert bytes(inside) == index
    batch = decode_batch(head, body)
    assert (batch.producer, batch.epoch, batch.number) == (
        header.producer,
        header.epoch,
        header.number,
    )
    assert (batch.count, batch.partition, batch.flags) == (
        header.count,
        header.partition,
        header.flags,
    )
    assert batch.nbytes == len(head) + len(body)
    verify_checksum(batch)


@given(HEADERS, st.data())
def test_any_change_of_an_unsealed_batch_is_noticed(header: Header, data: st.DataObject) -> None:
    head, body = make(header), b'body'
    whole = bytearray(head + body)
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(IntegrityError):
        verify_checksum(decode_batch(bytes(whole[: len(head)]), bytes(whole[len(head) :])))


@given(st.binary(max_size=400), st.binary(max_size=50))
def test_garbage_is_no_batch(head: bytes, body: bytes) -> None:
    with pytest.raises(IntegrityError, match='not a batch'):
        decode_batch(head, body)


@given(HEADERS, st.integers(0, 200))
def test_a_head_cut_short_is_no_batch(header: Header, length: int) -> None:
    head = make(header)
    with pytest.raises(IntegrityError, match='not a batch'):
        decode_batch(head[: min(length, len(head) - 1)], b'body')


@given(HEADERS, st.integers(72, 86), st.binary(min_size=8, max_size=8))
def test_a_lying_length_is_no_batch_and_allocates_nothing(
    header: Header, place: int, lie: bytes
) -> None:
    head = bytearray(make(header))
    before = bytes(head[72:86])
    head[place : place + 8] = lie
    tracemalloc.start()
    try:
        if bytes(head[72:86]) != before:
            with pytest.raises(IntegrityError):
                verify_checksum(decode_batch(bytes(head), b'body'))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_too_many_messages_are_no_batch() -> None:
    values = (Flag.NONE, 0, 1, MAX_BATCH_MESSAGES + 1, 1, 0, 0, 0.0, bytes(8), bytes(16), 'p')
    with pytest.raises(IntegrityError, match='messages in one batch'):
        decode_batch(make(Header(*values)), b'body')


def test_a_name_that_is_no_text_is_no_batch() -> None:
    values = (Flag.NONE, 0, 1, 1, 1, 0, 0, 0.0, bytes(8), bytes(16), 'p')
    head = make(Header(*values)).replace(b'pindex', b'\xffindex')
    with pytest.raises(IntegrityError, match='UTF-8'):
        decode_batch(head, b'body')


def test_unknown_flags_are_refused() -> None:
    values = (Flag.NONE, 0, 1, 1, 1, 0, 0, 0.0, bytes(8), bytes(16), 'p')
    head = bytearray(make(Header(*values)))
    struct.pack_into('<H', head, 4, 1 << 12)
    with pytest.raises(IntegrityError, match='flags'):
        decode_batch(bytes(head), b'body')
