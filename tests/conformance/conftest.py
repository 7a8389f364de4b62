"""Every installed architecture, and a stage on which a promise is put to the test."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import parsl_streaming
import parsl_streaming.testing  # registers the in-memory architecture
from parsl_streaming import architectures
from parsl_streaming.ends import open_reader
from parsl_streaming.ends import open_writer
from parsl_streaming.errors import StreamingError
from parsl_streaming.reader import Reader
from parsl_streaming.session import Session
from parsl_streaming.spec import Durability
from parsl_streaming.writer import Writer

CHANNEL = 'frames'
QUICK = {'from': 'a', 'to': 'b', 'lease': '600 ms', 'timeout': '5 s', 'linger': '2 ms'}
PATIENCE = 10.0


class Stage:
    """One channel of a session over one architecture, and the ends that a test opened."""

    def __init__(self, session: Session, architecture: str) -> None:
        self.session = session
        self.architecture = architecture
        self.readers: list[Reader] = []
        self.writers: list[Writer] = []
        self._pool = ThreadPoolExecutor(8, thread_name_prefix='stage')

    def writer(self, name: str | None = None, call: str | None = None) -> Writer:
        """Open a writer; a second one of the same name and call is its next epoch."""
        ticket = self.session.ticket(CHANNEL, 'writer', name=name, call=call)
        self.writers.append(open_writer(ticket.result(PATIENCE)))
        return self.writers[-1]

    def reader(
        self,
        name: str | None = None,
        *,
        call: str | None = None,
        group: str | None = None,
        start: str | None = None,
        manual: bool = False,
    ) -> Reader:
        ticket = self.session.ticket(
            CHANNEL, 'reader', name=name, call=call, group=group, start=start
        )
        self.readers.append(open_reader(ticket.result(PATIENCE), manual=manual))
        return self.readers[-1]

    def run(self, work: Callable[..., Any], *args: Any) -> Future[Any]:
        """Do something in another thread."""
        return self._pool.submit(work, *args)

    def send(self, *values: Any, writer: Writer | None = None) -> Future[None]:
        """Send values and end the stream, in another thread."""
        sender = writer or self.writer()

        def work() -> None:
            for value in values:
                sender.send(value)
            sender.close()

        return self.run(work)

    def read(self, reader: Reader | None = None, body: Callable[..., Any] | None = None) -> Any:
        """The values that a reader gets until the end, in another thread."""
        source = reader or self.reader()

        def work() -> list[Any]:
            with source:
                return [(body or _value)(message) for message in source]

        return self.run(work)

    def until(self, happened: Callable[[], bool]) -> None:
        """Wait for something that goes on in the background."""
        limit = time.monotonic() + PATIENCE
        while not happened():
            assert time.monotonic() < limit, 'it did not happen in time'
            time.sleep(0.005)

    def close(self) -> None:
        for reader in self.readers:
            with suppress(StreamingError):
                reader.close()
        for writer in self.writers:
            with suppress(StreamingError):
                writer.abort('the test is over')
        self._pool.shutdown()


def _value(message: Any) -> Any:
    return message.value


def _names() -> list[str]:
    return [name for name in architectures.names() if architectures.missing(name) is None]


@pytest.fixture(params=_names())
def architecture(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def stores(architecture: str) -> bool:
    """Whether the architecture stores messages, so that they need no reader to be safe."""
    return Durability.MEMORY in architectures.find(architecture)().durabilities


@pytest.fixture
def stage(architecture: str, tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Makes a stage for a channel with these settings; skips what is not promised."""
    with ExitStack() as stack:

        def make(**channel: Any) -> Stage:
            _require(architecture, channel)
            config = {
                'session': {'directory': str(tmp_path / 'session')},
                'sites': {'a': {'network': 'n'}, 'b': {'network': 'n'}},
                'channels': {CHANNEL: QUICK | channel},
            }
            session = parsl_streaming.load(config, architecture=architecture)
            made = Stage(stack.enter_context(session), architecture)
            stack.callback(made.close)
            return made

        yield make


def _require(name: str, channel: dict[str, Any]) -> None:
    """Skip what the architecture's own declaration excludes, and nothing else."""
    promised = architectures.find(name)()
    if channel.get('durability', 'none') not in promised.durabilities:
        pytest.skip(f'{name} does not promise durability {channel["durability"]}')
    if channel.get('pattern', 'work-sharing') not in promised.patterns:
        pytest.skip(f'{name} does not promise pattern {channel["pattern"]}')
    if channel.get('replay') and not promised.can_replay:
        pytest.skip(f'{name} does not promise replay')
