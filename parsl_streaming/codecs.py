"""Codecs: how a value becomes bytes and back. Nothing unsafe is decoded.

| codec | values | meta | decoded as |
|---|---|---|---|
| bytes | bytes, bytearray, memoryview | - | `bytes` |
| msgpack | plain values, lists, dicts, aware datetimes | - | the same, tuples as lists |
| numpy | arrays and scalars, no objects | dtype, shape | read-only, over the received bytes |
| arrow | `Table`, `RecordBatch` | which of the two | the same, over the received bytes |
| pickle | anything, if the channel opts in | - | the same |

A payload that can change under our feet (a writable buffer) is copied when it
is encoded; a read-only one travels as it is.
"""

from __future__ import annotations

import math
import pickle
import sys
from typing import Any
from typing import Final
from typing import Protocol

import msgpack

from parsl_streaming.errors import CodecError
from parsl_streaming.seam import Buffer

_ARRAY_EXT: Final = 1


class Codec(Protocol):
    """One way to turn values into bytes."""

    def encode(self, value: Any) -> tuple[Any, Buffer]:
        """Small msgpack-able facts for the index, and the payload."""

    def decode(self, meta: Any, data: memoryview) -> Any:
        """The value; may refer to `data`."""


def stable(data: Buffer) -> Buffer:
    """The buffer itself if nobody can change it, else a copy."""
    if isinstance(data, bytes):
        return data
    view = memoryview(data)
    flat = view if view.format == 'B' and view.ndim == 1 else view.cast('B')
    return flat if flat.readonly else bytes(flat)


class BytesCodec:
    """Raw bytes."""

    def encode(self, value: Any) -> tuple[Any, Buffer]:
        """Contiguous buffers travel as they are, others are packed."""
        if isinstance(value, memoryview) and not value.c_contiguous:
            return None, value.tobytes()
        return None, stable(value)

    def decode(self, meta: Any, data: memoryview) -> bytes:
        """The bytes (`Message.data` gives them without a copy)."""
        del meta
        return bytes(data)


class NumpyCodec:
    """Arrays: dtype and shape in the index, the elements as they lie in memory."""

    def encode(self, value: Any) -> tuple[Any, Buffer]:
        """Elements in C order."""
        import numpy as np  # noqa: PLC0415 (numpy is an extra)

        if value.dtype.hasobject:
            msg = f'an array of dtype {value.dtype} holds Python objects: use plain dtypes'
            raise TypeError(msg)
        array = np.asarray(value, order='C')
        meta = [np.lib.format.dtype_to_descr(array.dtype), list(array.shape)]
        if array.size == 0:
            return meta, b''
        return meta, stable(array.reshape(-1).view(np.uint8).data)

    def decode(self, meta: Any, data: memoryview) -> Any:
        """A read-only array over the received bytes; a scalar for shape ()."""
        import numpy as np  # noqa: PLC0415

        descr, shape = meta
        dtype = np.lib.format.descr_to_dtype(_as_descr(descr))
        if dtype.hasobject or any(n < 0 for n in shape):
            msg = f'an array of dtype {dtype} and shape {shape} is not decoded'
            raise CodecError(msg)
        if math.prod(shape) * dtype.itemsize != len(data):
            msg = f'an array of {dtype} x {shape} does not fit {len(data)} bytes'
            raise CodecError(msg)
        if len(data) == 0:
            return np.empty(shape, dtype)
        array = np.frombuffer(data.toreadonly(), dtype).reshape(shape)
        return array if shape else array[()]


def _as_descr(descr: Any) -> Any:
    """Undo what msgpack does to a dtype description: lists back to tuples."""
    if not isinstance(descr, list):
        return descr
    return [
        (field[0], _as_descr(field[1]), *(tuple(shape) for shape in field[2:])) for field in descr
    ]


class ArrowCodec:
    """Arrow tables and record batches as an IPC stream."""

    def encode(self, value: Any) -> tuple[Any, Buffer]:
        """The IPC stream."""
        import pyarrow as pa  # noqa: PLC0415 (pyarrow is an extra)

        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as stream:
            stream.write(value)
        return isinstance(value, pa.Table), memoryview(sink.getvalue()).cast('B').toreadonly()

    def decode(self, meta: Any, data: memoryview) -> Any:
        """A table, or a record batch when one was sent."""
        import pyarrow as pa  # noqa: PLC0415

        with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
            return stream.read_all() if meta else stream.read_next_batch()


class MsgpackCodec:
    """Plain values, and arrays nested in them."""

    def encode(self, value: Any) -> tuple[Any, Buffer]:
        """One msgpack object."""
        packed: bytes = msgpack.packb(value, default=_pack_extra, datetime=True)
        return None, packed

    def decode(self, meta: Any, data: memoryview) -> Any:
        """The value; tuples come back as lists."""
        del meta
        return msgpack.unpackb(data, ext_hook=_unpack_extra, strict_map_key=False, timestamp=3)


def _pack_extra(value: Any) -> Any:
    numpy = sys.modules.get('numpy')
    if numpy is not None and isinstance(value, numpy.generic | numpy.ndarray):
        meta, data = NUMPY.encode(value)
        return msgpack.ExtType(_ARRAY_EXT, msgpack.packb([meta, bytes(data)]))
    msg = f'cannot serialise {type(value).__qualname__!r} object'
    raise TypeError(msg)


def _unpack_extra(code: int, data: bytes) -> Any:
    if code != _ARRAY_EXT:
        msg = f'unknown msgpack extension {code}'
        raise CodecError(msg)
    meta, elements = msgpack.unpackb(data)
    return NUMPY.decode(meta, memoryview(elements))


class PickleCodec:
    """Any Python value. Only for channels that declare `pickle = true`."""

    def encode(self, value: Any) -> tuple[Any, Buffer]:
        """The pickle, newest protocol."""
        return None, pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)

    def decode(self, meta: Any, data: memoryview) -> Any:
        """The value. Runs whatever code the pickle names: trust the writer."""
        del meta
        return pickle.loads(data)  # noqa: S301 (the channel opted in)


BYTES: Final = 0
MSGPACK: Final = 1
NUMPY: Final = NumpyCodec()
_NUMPY_ID: Final = 2
_ARROW_ID: Final = 3
_PICKLE_ID: Final = 4
_CODECS: Final[dict[int, Codec]] = {
    BYTES: BytesCodec(),
    MSGPACK: MsgpackCodec(),
    _NUMPY_ID: NUMPY,
    _ARROW_ID: ArrowCodec(),
    _PICKLE_ID: PickleCodec(),
}


class Codecs:
    """The codecs that one channel allows.

    Args:
        channel: Its name, for messages.
        pickle: Whether the channel opted in to pickle.
    """

    def __init__(self, channel: str, *, pickle: bool = False) -> None:
        self._channel = channel
        self._pickle = pickle

    def encode(self, value: Any) -> tuple[int, Any, Buffer]:
        """Codec id, meta and payload of a value.

        Raises:
            CodecError: No codec of the channel takes the value.
        """
        if type(value) is bytes:
            return BYTES, None, value
        codec = _choose(value)
        try:
            return (codec, *_CODECS[codec].encode(value))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            if self._pickle:
                return (_PICKLE_ID, *self._pickled(value))
            raise CodecError(self._refusal(value, error)) from error

    def _pickled(self, value: Any) -> tuple[Any, Buffer]:
        try:
            return _CODECS[_PICKLE_ID].encode(value)
        except Exception as error:  # pickling runs the value's own code
            msg = (
                f'channel {self._channel!r}: {type(value).__qualname__} cannot be pickled: {error}'
            )
            raise CodecError(msg) from error

    def _refusal(self, value: Any, error: Exception) -> str:
        return (
            f'channel {self._channel!r}: cannot send a {type(value).__qualname__} ({error}); send '
            'bytes, numpy arrays, Arrow tables or msgpack values, or declare pickle = true'
        )

    def decode(self, codec: int, meta: Any, data: memoryview) -> Any:
        """The value of a payload.

        Raises:
            CodecError: The payload is damaged, or its codec is not allowed here.
        """
        known = _CODECS.get(codec)
        if known is None or (codec == _PICKLE_ID and not self._pickle):
            what = (
                'is pickled, which this channel does not allow' if known else 'is of no known codec'
            )
            msg = f'channel {self._channel!r}: a message {what} (codec {codec}); not decoded'
            raise CodecError(msg)
        try:
            return known.decode(meta, data)
        except CodecError:
            raise
        except Exception as error:  # whatever a damaged payload provokes in a library
            msg = f'channel {self._channel!r}: a payload cannot be decoded (codec {codec}): {error}'
            raise CodecError(msg) from error


def _choose(value: Any) -> int:
    if isinstance(value, bytes | bytearray | memoryview):
        return BYTES
    numpy = sys.modules.get('numpy')
    if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        return _NUMPY_ID
    arrow = sys.modules.get('pyarrow')
    if arrow is not None and isinstance(value, arrow.Table | arrow.RecordBatch):
        return _ARROW_ID
    return MSGPACK
