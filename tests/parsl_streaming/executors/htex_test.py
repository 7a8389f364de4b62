"""What is particular to the executor of worker processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl.config import Config
from parsl.providers import LocalProvider
from pipeline_apps import dies_once
from sessions import PATIENCE
from sessions import configuration
from typeguard import TypeCheckError

import parsl_streaming
from parsl_streaming.executors import StreamingExecutor
from parsl_streaming.executors import streaming_retry_handler


def executor(**options: Any) -> StreamingExecutor:
    provider = LocalProvider(init_blocks=1, max_blocks=options.pop('max_blocks', 1))
    given = {'label': 'hpc', 'address': '127.0.0.1', 'provider': provider} | options
    return StreamingExecutor(**given)


def test_slots_count_every_block_there_may_be() -> None:
    assert executor(max_workers_per_node=3, max_blocks=4).slots() == 12
    assert executor(available_accelerators=2, max_blocks=4).slots() == 8
    assert executor().slots() is None


@pytest.mark.parametrize(
    ('roles', 'given', 'expected'),
    [
        (['reader'], {}, {'priority': 0}),
        (['reader', 'writer'], {}, {'priority': 0}),
        (['writer'], {}, {}),
        (['reader'], {'priority': 7}, {'priority': 7}),
    ],
)
def test_readers_come_first(
    roles: list[str], given: dict[str, Any], expected: dict[str, Any]
) -> None:
    class Place:
        def __init__(self, role: str) -> None:
            self.role = role

    tickets: Any = [Place(role) for role in roles]
    assert executor().rank(given, tickets) == expected


def test_it_is_configured_as_parsls_own() -> None:
    made = executor(max_workers_per_node=2, streaming='streaming.toml')
    for part in ("label='hpc'", 'max_workers_per_node=2', "streaming='streaming.toml'"):
        assert part in repr(made)
    with pytest.raises(TypeCheckError):
        executor(worker_debug='yes')
    Config(executors=[made])


def test_the_retry_of_a_killed_worker_goes_on_and_knows_its_number(tmp_path: Path) -> None:
    config = configuration(tmp_path, numbers={'architecture': 'dts'})
    made = executor(
        max_workers_per_node=2,
        cores_per_worker=0.1,
        heartbeat_period=1,
        heartbeat_threshold=10,
        streaming=config,
    )
    parsl_config = Config(
        executors=[made],
        run_dir=str(tmp_path / 'runinfo'),
        retries=1,
        retry_handler=streaming_retry_handler,
        strategy='none',
        initialize_logging=False,
    )
    with parsl.load(parsl_config):
        with parsl_streaming.reader('numbers') as reader:
            done = dies_once(mark=str(tmp_path / 'died'))
            assert [message.value for message in reader] == [2]
        assert done.result(PATIENCE) is None
