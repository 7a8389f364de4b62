"""Replies from readers to a writer, read on a connection of their own."""

from __future__ import annotations

from typing import Any
from typing import Final

from parsl_streaming.seam import Batch
from parsl_streaming_mss.access import Access
from parsl_streaming_mss.entry import batch_of
from parsl_streaming_mss.errors import broker_error
from parsl_streaming_mss.line import Line
from parsl_streaming_mss.line import ignore
from parsl_streaming_mss.resp import Argument
from parsl_streaming_mss.resp import ErrorReply

_BLOCK_MS: Final = 100
_COUNT: Final = 64
_BUFFER: Final = 1 << 20


class Inbox:
    """The replies to one producer's incarnation.

    Args:
        access: The channel's place in the broker.
        producer: The producer's name.
        epoch: Its incarnation.
    """

    def __init__(self, access: Access, producer: str, epoch: int) -> None:
        self._key = access.keys.replies(producer, epoch)
        self._last: bytes = b'0'
        self._read: list[Argument] = []
        self._batches: list[Batch] = []
        self._line = Line(access.endpoint, self._ask, buffer_bytes=_BUFFER)

    def _ask(self) -> None:
        """Delete what was read, and wait for more."""
        if self._read:
            self._line.add(ignore, ['XDEL', self._key, *self._read])
        command: list[Argument] = ['XREAD', 'COUNT', _COUNT, 'BLOCK', _BLOCK_MS]
        self._line.add(self._on_entries, [*command, 'STREAMS', self._key, self._last])

    def _on_entries(self, reply: Any) -> None:
        self._read = []
        if isinstance(reply, ErrorReply):
            raise broker_error(reply, f'reading replies from the broker at {self._line.endpoint}')
        for _, entries in reply or ():
            for entry_id, fields in entries:
                self._batches.append(batch_of(fields))
                self._read.append(entry_id)
                self._last = entry_id

    def pump(self, timeout: float) -> bool:
        """Wait for replies.

        Args:
            timeout: Longest wait in seconds.

        Returns:
            Whether there are some to take.
        """
        if not self._line.busy:
            self._ask()
        self._line.exchange(timeout)
        return bool(self._batches)

    def take(self) -> list[Batch]:
        """The replies that came since the last call."""
        batches, self._batches = self._batches, []
        return batches

    def close(self) -> None:
        """Free the connection; idempotent."""
        self._line.close()
