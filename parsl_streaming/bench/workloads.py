"""What is streamed: messages as instruments make them, of random bytes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

import xxhash

from parsl_streaming.seam import Buffer

BUFFERS: Final = 16
"""Payloads in rotation, so that no cache holds what is sent over and over."""
_HDF5_SIGNATURE: Final = b'\x89HDF\r\n\x1a\n'
_DATASET_LABEL: Final = b'/entry/data/0'
_TAIL: Final = 8


@dataclass(frozen=True, slots=True)
class Workload:
    """One instrument's stream.

    Attributes:
        name: As the command line says it.
        prefix: What every message begins with.
        random_bytes: Random bytes after it.
        in_flight: Requests that a producer keeps open where messages are answered.
    """

    name: str
    prefix: bytes
    random_bytes: int
    in_flight: int

    @property
    def nbytes(self) -> int:
        """Payload of one message, in bytes."""
        return len(self.prefix) + self.random_bytes

    def payloads(self, seed: int) -> list[bytes]:
        """The payloads in rotation: made once, the same for one seed, read-only."""
        source = random.Random(seed)
        return [self.prefix + source.randbytes(self.random_bytes) for _ in range(BUFFERS)]


WORKLOADS: Final = {
    workload.name: workload
    for workload in (
        Workload('deleria', b'', 8 * 2000, 64),  # 8 events of a gamma-ray detector in a message
        Workload('lcls', _HDF5_SIGNATURE + _DATASET_LABEL, 1_000_000, 64),  # a free-electron laser
        Workload('generic', b'', 4_000_000, 16),
    )
}


@dataclass(frozen=True, slots=True)
class Marks:
    """What a consumer knows of the payloads: enough to notice a wrong or damaged one.

    Attributes:
        nbytes: Their size.
        tails: The last bytes of each; compared for every message.
        digests: XXH3 of each; compared for some messages.
    """

    nbytes: int
    tails: tuple[bytes, ...]
    digests: tuple[int, ...]

    @classmethod
    def of(cls, payloads: list[bytes]) -> Marks:
        """The marks of some payloads."""
        digests = tuple(xxhash.xxh3_64_intdigest(payload) for payload in payloads)
        return cls(len(payloads[0]), tuple(p[-_TAIL:] for p in payloads), digests)

    def fit(self, slot: int, data: Buffer, *, wholly: bool) -> bool:
        """Whether these bytes are the payload of this slot.

        Args:
            slot: Which payload it should be; any number, taken modulo `BUFFERS`.
            data: What came.
            wholly: Compare the digest too.
        """
        slot %= BUFFERS
        if len(data) != self.nbytes or data[-_TAIL:] != self.tails[slot]:
            return False
        return not wholly or xxhash.xxh3_64_intdigest(data) == self.digests[slot]
