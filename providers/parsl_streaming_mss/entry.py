"""A batch as a stream entry: an id that never changes, and the fields head and body."""

from __future__ import annotations

import struct
from typing import Any
from typing import Final

from parsl_streaming.errors import IntegrityError
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Buffer
from parsl_streaming.wire import decode_batch
from parsl_streaming_mss.resp import Argument

LAST_ID: Final = f'{2**64 - 1}-{2**64 - 1}'
"""The largest id there is: a stream that has it takes no more entries."""
_LENGTH: Final = struct.Struct('<I')
_FIELDS: Final = 4
_FOREIGN: Final = (
    'the broker holds an entry that no writer made; find out who else uses the channel'
)


def add_command(stream: str, entry_id: str, batch: Batch, *options: str) -> list[Argument]:
    """The command that appends a batch."""
    return ['XADD', stream, *options, entry_id, 'h', batch.head, 'b', batch.body]


def batch_of(fields: list[Any]) -> Batch:
    """The batch in the fields of an entry.

    Raises:
        IntegrityError: It is none.
    """
    if len(fields) != _FIELDS:
        raise IntegrityError(_FOREIGN)
    return decode_batch(fields[1], fields[3])


def end_value(batch: Batch) -> bytes:
    """An END batch as one value of a hash."""
    return b''.join((_LENGTH.pack(len(batch.head)), batch.head, batch.body))


def end_batch(value: Buffer) -> Batch:
    """The END batch in a value that `end_value` made.

    Raises:
        IntegrityError: It is none.
    """
    view = memoryview(value)
    if len(view) < _LENGTH.size:
        raise IntegrityError(_FOREIGN)
    split = _LENGTH.size + _LENGTH.unpack_from(view)[0]
    return decode_batch(view[_LENGTH.size : split], view[split:])


def pairs(flat: list[Any]) -> dict[bytes, Any]:
    """The mapping that the server sent as a flat list."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
