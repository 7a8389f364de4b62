"""What the two ends of a direct link say to each other on the control connection.

Each message is a msgpack list that begins with its kind.

| kind | from | fields | meaning |
|---|---|---|---|
| `hello` | writer | producer, epoch, token | who I am, and what my data connection begins with |
| `again` | writer | number, deliveries, settled | the batch that follows was delivered before |
| `grant` | reader | messages, bytes | the most you may have in flight |
| `ack` | reader | numbers | these batches are settled |
| `mark` | reader | number, settled | what a redelivery may leave out |
| `release` | reader | number, settled | hand this batch to another reader |
| `dry` | reader | | I wait with empty hands: let me have more in flight |
| `bye` | reader | | I am leaving; nothing more follows |
| `got` | writer | number | the replies up to this number have come |
"""

from __future__ import annotations

from typing import Any
from typing import Final

import msgpack

HELLO: Final = 'hello'
AGAIN: Final = 'again'
GRANT: Final = 'grant'
ACK: Final = 'ack'
MARK: Final = 'mark'
RELEASE: Final = 'release'
DRY: Final = 'dry'
BYE: Final = 'bye'
GOT: Final = 'got'
MAX_BYTES: Final = 1 << 20


def encode(kind: str, *fields: Any) -> bytes:
    """A control message as bytes."""
    packed: bytes = msgpack.packb([kind, *fields])
    return packed


def decode(data: bytes) -> list[Any]:
    """A control message; an empty list for what is none."""
    try:
        message = msgpack.unpackb(data)
    except (ValueError, msgpack.exceptions.UnpackException):
        return []
    return message if isinstance(message, list) else []


def mask_to_bytes(mask: int) -> bytes:
    """A bitmask of any length, as bytes."""
    return mask.to_bytes((mask.bit_length() + 7) // 8, 'little')


def mask_from_bytes(data: bytes) -> int:
    """The bitmask."""
    return int.from_bytes(data, 'little')
