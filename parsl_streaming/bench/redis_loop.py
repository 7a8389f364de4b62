"""The raw loop of Redis Streams: redis-py with pipelines on both sides."""

from __future__ import annotations

import time
from collections.abc import Iterable
from collections.abc import Iterator
from itertools import islice
from typing import Any
from typing import Final

from parsl_streaming.bench.plan import Plan
from parsl_streaming.seam import Buffer

_STREAM, _GROUP, _CONSUMER = 'stream', 'group', 'consumer'
_PIPELINED: Final = 16
"""Commands in one pipeline, at most."""
_BACKLOG_BYTES: Final = 64 << 20
_BACKLOG_MESSAGES: Final = 512
_BLOCK_MS: Final = 1000
_PAUSE: Final = 0.0005

_COPIED_BELOW: Final = 6000
"""Bytes up to which redis-py's own packer joins values; its default."""


class RedisPipeline:
    """Several XADD at once; XREADGROUP with the acknowledgements of what was read before.

    The writer bounds the backlog by the stream's length, which each pipeline asks for.
    """

    def __init__(self, plan: Plan) -> None:
        self._backlog = min(_BACKLOG_MESSAGES, _BACKLOG_BYTES // plan.load.nbytes)
        self._pipelined = min(_PIPELINED, self._backlog // 4)
        self._client: Any = None

    def options(self) -> dict[str, Any]:
        """How redis-py is set up: as it comes, with hiredis."""
        return {}

    def _open(self, url: str) -> Any:
        import redis  # noqa: PLC0415 (only this comparison needs it)

        pool = redis.ConnectionPool.from_url(url, **self.options())
        self._client = redis.Redis(connection_pool=pool)
        return self._client

    def listen(self, given: Any) -> Any:
        """See `Loop.listen`: the broker's url is given, and where the source connects."""
        self._open(given).xgroup_create(_STREAM, _GROUP, mkstream=True)
        return given

    def connect(self, address: Any) -> None:
        """See `Loop.connect`."""
        self._open(address)

    def send_all(self, payloads: Iterable[bytes]) -> bytes:
        """See `Loop.send_all`."""
        source = iter(payloads)
        backlog = 0
        while several := list(islice(source, self._pipelined)):
            while backlog > self._backlog - len(several):
                time.sleep(_PAUSE)
                backlog = self._client.xlen(_STREAM)
            pipeline = self._client.pipeline(transaction=False)
            for payload in several:
                pipeline.xadd(_STREAM, {b'p': payload})
            *_, backlog = pipeline.xlen(_STREAM).execute()
        return b''

    def receive_all(self, count: int) -> Iterator[Buffer]:
        """See `Loop.receive_all`."""
        ids: list[bytes] = []
        while count > 0:
            pipeline = self._client.pipeline(transaction=False)
            if ids:
                pipeline.xack(_STREAM, _GROUP, *ids).xdel(_STREAM, *ids)
            pipeline.xreadgroup(
                _GROUP, _CONSUMER, {_STREAM: '>'}, count=self._pipelined, block=_BLOCK_MS
            )
            answer = pipeline.execute()[-1]
            entries = answer[0][1] if answer else []
            ids = [each for each, _ in entries]
            count -= len(entries)
            for _, fields in entries:
                yield fields[b'p']

    def close(self) -> None:
        """See `Loop.close`."""
        if self._client is not None:
            self._client.connection_pool.disconnect()


class PackedByPython(RedisPipeline):
    """The same with redis-py's own packer, which does not copy large values, and larger reads."""

    def options(self) -> dict[str, Any]:
        """See `RedisPipeline.options`."""
        from redis.connection import PythonRespSerializer  # noqa: PLC0415 (as above)

        return {
            'command_packer': PythonRespSerializer(_COPIED_BELOW, _encode),
            'socket_read_size': 256 << 10,
        }


def _encode(value: str | bytes | int) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
