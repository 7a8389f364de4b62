"""Which entries this reader keeps alive, and which others have let go."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from functools import partial
from typing import Any
from typing import Final

from parsl_streaming.seam import Delivery
from parsl_streaming_mss.access import Access
from parsl_streaming_mss.entry import batch_of
from parsl_streaming_mss.errors import broker_error
from parsl_streaming_mss.line import Line
from parsl_streaming_mss.line import ignore
from parsl_streaming_mss.outbox import Token
from parsl_streaming_mss.resp import Argument
from parsl_streaming_mss.resp import ErrorReply

_SCAN: Final = 16
_RECOVER: Final = 1000
_CHUNK: Final = 256


class Leases:
    """The entries that this reader holds, and the search for entries that nobody keeps alive.

    A lease says that the reader lives, not that it is quick: everything it holds is
    renewed together, and only a reader that stops renewing loses its entries.

    Args:
        line: The reader's connection.
        access: The channel's place in the broker.
        group: The reader's group.
        consumer: The reader's name in the group.
        lease: Seconds after which a silent reader counts as dead.
        in_order: Whether no entry may be claimed before the older ones of its stream.
    """

    def __init__(
        self,
        line: Line,
        access: Access,
        group: str,
        consumer: str,
        lease: float,
        *,
        in_order: bool,
    ) -> None:
        self._line = line
        self._access = access
        self._group = group
        self._consumer = consumer
        self._lease = lease
        self._in_order = in_order
        self._renew_at = time.monotonic() + lease / 3
        self._scan_at = 0.0
        self._bits: dict[Token, int] = {}
        self.lease_ms = max(1, int(lease * 1000))
        self.free: deque[tuple[Token, int, int]] = deque()
        self.held: dict[Token, Delivery] = {}
        self.lost = 0
        self.redelivered = 0

    def renew(self, *, now: bool = False) -> None:
        """Keep what is held alive, every third of the lease."""
        clock = time.monotonic()
        if not now and clock < self._renew_at:
            return
        self._renew_at = clock + self._lease / 3
        ids: dict[str, list[str]] = {}
        for stream, entry_id in self.held:
            ids.setdefault(stream, []).append(entry_id)
        for stream, mine in ids.items():
            for i in range(0, len(mine), _CHUNK):
                arguments = [self._group, self._consumer, *mine[i : i + _CHUNK]]
                command = self._access.scripts.call('renew', [stream], arguments)
                self._line.add(partial(self._on_renewed, stream), command)

    def _on_renewed(self, stream: str, reply: Any) -> None:
        self._check(reply)
        for entry_id in reply:
            self.lost += self.held.pop((stream, bytes(entry_id).decode()), None) is not None

    def _check(self, reply: Any) -> None:
        if isinstance(reply, ErrorReply):
            raise broker_error(reply, f'keeping the leases of group {self._group!r}')

    def search(self, streams: Iterable[str]) -> None:
        """Look for entries that nobody keeps alive, every half of the lease."""
        clock = time.monotonic()
        if clock < self._scan_at:
            return
        self._scan_at = clock + self._lease / 2
        for stream in streams:
            idle: list[Argument] = ['IDLE', self.lease_ms, '-', '+', _SCAN]
            handler = partial(self._on_found, stream, self.lease_ms)
            self._line.add(handler, ['XPENDING', stream, self._group, *idle])

    def recover(self, streams: Iterable[str]) -> None:
        """Look for entries whose delivery to this reader was lost with a connection."""
        for stream in streams:
            mine: list[Argument] = ['-', '+', _RECOVER, self._consumer]
            handler = partial(self._on_found, stream, 0)
            self._line.add(handler, ['XPENDING', stream, self._group, *mine])

    def take_released(self) -> None:
        """Look for an entry that a reader gave back."""
        key = self._access.keys.released(self._group)
        self._line.add(self._on_released, ['LPOP', key])

    def _on_released(self, reply: Any) -> None:
        self._check(reply)
        if reply is not None:
            stream, _, entry_id = bytes(reply).decode().rpartition('|')
            handler = partial(self._on_found, stream, self.lease_ms)
            command: list[Argument] = ['XPENDING', stream, self._group, entry_id, entry_id, 1]
            self._line.add(handler, command)

    def _on_found(self, stream: str, idle_ms: int, reply: Any) -> None:
        self._check(reply)
        for entry_id, _, _, deliveries in reply:
            self.offer((stream, bytes(entry_id).decode()), idle_ms, deliveries)

    def offer(self, token: Token, idle_ms: int, deliveries: int) -> None:
        """Have an entry claimed, unless it is held or known already.

        Args:
            token: The entry.
            idle_ms: It must have been let alone for so long.
            deliveries: How often it was handed out.
        """
        if token not in self.held and all(token != known for known, _, _ in self.free):
            self.free.append((token, idle_ms, deliveries))

    def claimable(self) -> set[str]:
        """The streams with entries that wait to be claimed."""
        return {stream for (stream, _), _, _ in self.free}

    def claim(self, deliver: Callable[[Delivery], None]) -> bool:
        """Claim one free entry: a poisonous one must not take others with it.

        Args:
            deliver: Called with the delivery, unless somebody else was faster.

        Returns:
            Whether there was one to claim.
        """
        if not self.free:
            return False
        token, idle_ms, deliveries = self.free.popleft()
        marks = self._access.keys.marks(self._group)
        self._line.add(partial(self._on_bits, token), ['HGET', marks, '|'.join(token)])
        where: list[Argument] = [token[0], self._group, self._consumer, idle_ms, token[1]]
        handler = partial(self._on_claimed, token, deliveries + 1, deliver)
        self._line.add(handler, ['XCLAIM', *where])
        return True

    def _on_bits(self, token: Token, reply: Any) -> None:
        self._check(reply)
        self._bits[token] = int(reply, 16) if reply else 0

    def _on_claimed(
        self, token: Token, deliveries: int, deliver: Callable[[Delivery], None], reply: Any
    ) -> None:
        self._check(reply)
        bits = self._bits.pop(token, 0)
        if not reply or reply[0] is None or reply[0][1] is None:
            self._miss(token[0])
            return
        name = self._access.keys.name_of(token[0])
        self.redelivered += 1
        counters = self._access.keys.counters(name.producer, name.epoch)
        self._line.add(ignore, ['HINCRBY', counters, 'redelivered', 1])
        deliver(Delivery(batch_of(reply[0][1]), deliveries, bits, token))

    def _miss(self, stream: str) -> None:
        """Somebody else has an entry: those after it must wait until they are found again."""
        if self._in_order:
            self.leave(stream)

    def leave(self, stream: str) -> None:
        """Claim nothing of a stream that was found so far."""
        self.free = deque(found for found in self.free if found[0][0] != stream)

    def restore(self) -> None:
        """After a new connection: claims that were not answered are found again."""
        self._bits.clear()
        self._scan_at = 0.0
