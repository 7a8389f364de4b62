from __future__ import annotations

from contextlib import suppress
from datetime import UTC
from datetime import datetime
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parsl_streaming.codecs import Codecs
from parsl_streaming.codecs import stable
from parsl_streaming.errors import CodecError

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 9), inner),
    max_leaves=20,
)
DTYPES = (
    hnp.scalar_dtypes() | hnp.unicode_string_dtypes(min_len=1) | hnp.byte_string_dtypes(min_len=1)
)


def there_and_back(value: Any, *, pickle: bool = False) -> Any:
    codecs = Codecs('c', pickle=pickle)
    codec, meta, data = codecs.encode(value)
    meta = msgpack.unpackb(msgpack.packb(meta))
    return codecs.decode(codec, meta, memoryview(bytes(data)))


@given(PLAIN)
def test_plain_values_come_back(value: Any) -> None:
    assert there_and_back(value) == value


@given(hnp.arrays(DTYPES, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0)))
def test_arrays_come_back(array: Any) -> None:
    back = there_and_back(array)
    assert (back.shape, back.dtype) == (array.shape, array.dtype)
    assert back.tobytes() == array.tobytes()
    assert not back.flags.writeable or back.size == 0


@pytest.mark.parametrize('scalar', [np.float32(1.5), np.int8(-3), np.str_('abc'), np.True_])
def test_scalars_come_back(scalar: Any) -> None:
    back = there_and_back(scalar)
    assert back == scalar
    assert type(back) is type(scalar)


def test_structured_arrays_come_back() -> None:
    dtype = np.dtype([('a', '<i4'), ('b', [('c', '<f8', (2, 2)), ('d', 'S3')])])
    array = np.zeros((2, 3), dtype)
    back = there_and_back(array)
    assert back.dtype == dtype
    assert np.array_equal(back, array)


@pytest.mark.parametrize(
    'array', [np.arange(24).reshape(4, 6)[::2, ::3], np.asfortranarray(np.eye(3)), np.eye(2).T]
)
def test_arrays_that_are_not_contiguous_come_back(array: Any) -> None:
    assert np.array_equal(there_and_back(array), array)


def test_arrays_nest_in_plain_values() -> None:
    back = there_and_back({'image': np.arange(4, dtype='u2'), 'mean': np.float32(1.5)})
    assert np.array_equal(back['image'], np.arange(4))
    assert back['mean'] == 1.5


def test_an_aware_datetime_comes_back() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert there_and_back(moment) == moment


def test_tables_and_record_batches_come_back() -> None:
    batch = pa.record_batch({'x': [1.5, None], 'name': ['a', 'b']})
    assert there_and_back(batch) == batch
    assert there_and_back(pa.table(batch)) == pa.table(batch)


def test_every_payload_is_of_plain_bytes() -> None:
    """What seals, sends and joins payloads takes nothing else."""
    values = [b'x', bytearray(b'x'), np.eye(2), pa.table({'x': [1]}), pa.record_batch({'x': [1]})]
    for value in values:
        view = memoryview(Codecs('c').encode(value)[2])
        assert (view.format, view.ndim, view.readonly) == ('B', 1, True)


def test_what_can_change_is_copied_and_what_cannot_is_not() -> None:
    fixed, loose = bytes(10), bytearray(10)
    assert stable(fixed) is fixed
    copy = stable(loose)
    loose[0] = 1
    assert bytes(copy) == bytes(10)
    view = memoryview(np.arange(3.0).data).toreadonly()
    assert len(stable(view)) == 24


@pytest.mark.parametrize('value', [memoryview(bytes(10))[::2], memoryview(np.eye(2).T.data)])
def test_views_with_gaps_are_packed(value: memoryview) -> None:
    assert there_and_back(value) == value.tobytes()


@pytest.mark.parametrize(
    'value', [object(), {1}, 1 << 64, np.array([None]), [object()], 1j, '\ud800']
)
def test_what_no_codec_takes_is_refused(value: Any) -> None:
    with pytest.raises(CodecError, match="channel 'c': cannot send"):
        Codecs('c').encode(value)


def test_what_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(CodecError, match='cannot send'):
        Codecs('c').encode(endless)


def test_pickle_takes_the_rest_where_it_is_declared() -> None:
    assert there_and_back({1, 2}, pickle=True) == {1, 2}
    assert there_and_back(np.array([None, 'x']), pickle=True).tolist() == [None, 'x']
    with pytest.raises(CodecError, match='cannot be pickled'):
        Codecs('c', pickle=True).encode(lambda: None)


def test_a_pickle_is_not_decoded_elsewhere() -> None:
    codec, meta, data = Codecs('c', pickle=True).encode({1})
    with pytest.raises(CodecError, match='does not allow'):
        Codecs('c').decode(codec, meta, memoryview(bytes(data)))


@given(st.integers(-5, 300), PLAIN, st.binary(max_size=200))
def test_nothing_but_a_codec_error_comes_of_garbage(codec: int, meta: Any, data: bytes) -> None:
    value = None
    with suppress(CodecError):
        value = Codecs('c').decode(codec, meta, memoryview(data))
    assert getattr(value, 'nbytes', 0) <= max(len(data), 1)


@pytest.mark.parametrize(
    'meta',
    [
        ['<f8', [1 << 62]],
        ['<f8', [-1]],
        ['|O', [1]],
        ['|V0', [1 << 40]],
        ['<f8', [0, 1 << 62]],
        ['<f8', ['x']],
        ['nonsense', [1]],
        [[['a', '|O']], [1]],
        None,
    ],
)
def test_a_lying_array_allocates_nothing(meta: Any) -> None:
    try:
        value = Codecs('c').decode(2, meta, memoryview(bytes(8)))
    except CodecError:
        return
    pytest.fail(f'decoded as {value!r}')


def test_an_unknown_extension_is_refused() -> None:
    data = msgpack.packb(msgpack.ExtType(9, b'x'))
    with pytest.raises(CodecError, match='extension 9'):
        Codecs('c').decode(1, None, memoryview(data))
