"""The processes of one measurement: started, collected, and never left behind."""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import FIRST_EXCEPTION
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait
from contextlib import suppress
from types import TracebackType
from typing import Any
from typing import Final
from typing import Self

import msgpack

from parsl_streaming.bench.job import Job
from parsl_streaming.errors import ChannelTimeout
from parsl_streaming.errors import StreamingError

_WORKER: Final = 'parsl_streaming.bench.worker'
# As the architectures set it in their own processes: the raw loops get the same.
_MALLOC: Final = {
    'MALLOC_MMAP_THRESHOLD_': str(1 << 30),
    'MALLOC_TRIM_THRESHOLD_': str(1 << 30),
}


class Crew:
    """Processes in groups of their own, killed on the way out.

    Args:
        limit: Seconds that the whole measurement may take.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._deadline = time.monotonic() + limit
        self._members: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Self:
        return self

    def start(self, job: Job) -> int:
        """Start a process; returns its number among the crew."""
        process = subprocess.Popen(
            [sys.executable, '-m', _WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | _MALLOC,
            process_group=0,
        )
        self._members.append((f'{job.role} {job.index}', process))
        assert process.stdin is not None  # noqa: S101 (it is a pipe)
        pickle.dump(job, process.stdin)
        process.stdin.flush()
        return len(self._members) - 1

    def address(self, number: int) -> Any:
        """Wait until a process is ready; returns where it can be found.

        Raises:
            StreamingError: It failed, or took too long.
        """
        name, process = self._members[number]
        assert process.stdout is not None  # noqa: S101 (it is a pipe)
        left = max(0.0, self._deadline - time.monotonic())
        if not select.select([process.stdout], [], [], left)[0]:
            raise ChannelTimeout(self._too_slow(name))
        line = process.stdout.readline()
        if not line:
            raise StreamingError(_failed(name, process.wait()))
        return msgpack.unpackb(bytes.fromhex(line.decode()))

    def run(self) -> list[dict[str, Any]]:
        """Let everyone go; returns their results in the order of their start.

        Raises:
            StreamingError: One of them failed, or they took too long.
        """
        with ThreadPoolExecutor(len(self._members)) as pool:
            futures = [pool.submit(self._collect, *member) for member in self._members]
            try:
                self._await(futures)
            finally:
                self._kill()  # so that the threads end
            return [future.result() for future in futures]

    def _await(self, futures: list[Future[dict[str, Any]]]) -> None:
        left = max(0.0, self._deadline - time.monotonic())
        done, pending = wait(futures, left, FIRST_EXCEPTION)
        for future in done:
            future.result()
        if pending:
            raise ChannelTimeout(self._too_slow('not every process'))

    def _collect(self, name: str, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        output, _ = process.communicate(b'go\n')
        if process.returncode:
            raise StreamingError(_failed(name, process.returncode))
        result: dict[str, Any] = msgpack.unpackb(output)
        return result

    def _too_slow(self, name: str) -> str:
        return (
            f'benchmark: {name} was not done within {self._limit:g} s; take fewer messages or a '
            'higher --limit'
        )

    @property
    def pids(self) -> set[int]:
        """Process ids."""
        return {process.pid for _, process in self._members}

    def _kill(self) -> None:
        for _, process in self._members:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kill()
        for _, process in self._members:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()


def _failed(name: str, status: int) -> str:
    return f'benchmark: {name} ended with status {status}; what it wrote above says why'
