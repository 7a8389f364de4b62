"""The executors' common part, on threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl import python_app
from parsl.config import Config
from sessions import PATIENCE
from sessions import configuration

import parsl_streaming
import parsl_streaming.testing
from parsl_streaming import streaming
from parsl_streaming.errors import CapacityError
from parsl_streaming.errors import UsageError
from parsl_streaming.executors import StreamingThreadPoolExecutor
from parsl_streaming.executors import streaming_retry_handler


@contextmanager
def running(directory: Path, retries: int = 0, **options: Any) -> Iterator[None]:
    executor = StreamingThreadPoolExecutor(**{'label': 'hpc', 'max_threads': 2} | options)
    config = Config(
        executors=[executor],
        run_dir=str(directory / 'runinfo'),
        retries=retries,
        retry_handler=streaming_retry_handler,
        initialize_logging=False,
    )
    with parsl.load(config):
        yield


def memory(directory: Path, **channels: Any) -> dict[str, Any]:
    config = configuration(directory, **channels)
    for channel in config['channels'].values():
        channel['architecture'] = 'memory'
    return config


@streaming(writes='frames')
@python_app
def send(frames: Any, count: int = 3) -> int:
    for i in range(count):
        frames.send(i)
    return count


@streaming(reads='frames')
@python_app
def receive(frames: Any) -> list[int]:
    return [frame.value for frame in frames]


def test_the_session_lives_as_long_as_the_executor(tmp_path: Path) -> None:
    config = memory(tmp_path, frames={})
    with running(tmp_path, streaming=config):
        received = receive()
        assert send().result(PATIENCE) == 3
        assert received.result(PATIENCE) == [0, 1, 2]
    with pytest.raises(UsageError, match='no session is loaded'):
        send()
    assert list((tmp_path / 'streaming').iterdir()) == []


def test_it_runs_plain_apps_and_any_session(tmp_path: Path) -> None:
    @python_app
    def add(a: int, b: int) -> int:
        return a + b

    config = configuration(tmp_path, frames={})
    with parsl_streaming.load(config, architecture='memory'), running(tmp_path):
        received = receive()
        assert add(1, 2).result(PATIENCE) == 3
        send().result(PATIENCE)
        assert received.result(PATIENCE) == [0, 1, 2]


def test_each_try_knows_its_number(tmp_path: Path) -> None:
    seen: list[int] = []

    @streaming(writes='frames')
    @python_app
    def fails_twice(frames: Any) -> None:
        seen.append(parsl_streaming.attempt())
        if len(seen) < 3:
            msg = 'not yet'
            raise ValueError(msg)
        frames.send('done')

    with running(tmp_path, retries=2, streaming=memory(tmp_path, frames={})):
        received = receive()
        fails_twice().result(PATIENCE)
        assert received.result(PATIENCE) == ['done']
    assert seen == [1, 2, 3]
    assert parsl_streaming.attempt() == 1


def test_too_few_workers_are_an_error_and_not_a_hang(tmp_path: Path) -> None:
    started = threading.Event()

    @streaming(reads='frames')
    @python_app
    def wait(frames: Any) -> int:
        started.set()
        return sum(1 for _ in frames)

    with running(tmp_path, max_threads=1, streaming=memory(tmp_path, frames={'timeout': '2 s'})):
        waiting = wait()
        assert started.wait(PATIENCE)
        refused = send()
        with pytest.raises(CapacityError, match='1 readers and 1 writers of channel'):
            refused.result(PATIENCE)
        with pytest.raises(parsl_streaming.errors.ChannelAborted):
            waiting.result(PATIENCE)


def test_its_repr_and_signature_are_those_of_parsls_executor(tmp_path: Path) -> None:
    executor = StreamingThreadPoolExecutor(label='hpc', max_threads=3)
    assert repr(executor).startswith('StreamingThreadPoolExecutor(')
    for part in ("label='hpc'", 'max_threads=3', 'streaming=None'):
        assert part in repr(executor)
    with pytest.raises(TypeError):
        StreamingThreadPoolExecutor(no_such_parameter=tmp_path)
