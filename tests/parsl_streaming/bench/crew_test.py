from __future__ import annotations

from contextlib import suppress

import pytest

from parsl_streaming.bench.crew import Crew
from parsl_streaming.bench.job import Job
from parsl_streaming.bench.plan import Plan
from parsl_streaming.bench.usage import children
from parsl_streaming.bench.workloads import Marks
from parsl_streaming.errors import StreamingError
from parsl_streaming.spec import Pattern

PLAN = Plan(
    architecture='dts',
    workload='deleria',
    pattern=Pattern.WORK_SHARING,
    producers=1,
    consumers=1,
    messages=10,
    limit=20,
)
MARKS = Marks((16_000), (), ())


def sink(loop: str) -> Job:
    return Job(role='sink', plan=PLAN, marks=MARKS, loop=loop)


def test_a_process_that_fails_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with Crew(20) as crew, pytest.raises(StreamingError, match='sink 0 ended with status 1'):
        crew.address(crew.start(sink('no such loop')))
    assert 'no such loop' in capfd.readouterr().err


def test_processes_are_gone_after_an_exception() -> None:
    crew = Crew(20)
    with suppress(KeyError), crew:
        crew.address(crew.start(sink('raw-socket')))
        assert crew.pids <= children()
        raise KeyError
    assert crew.pids
    assert not crew.pids & children()


def test_a_process_that_is_not_ready_in_time_is_named() -> None:
    with Crew(0) as crew, pytest.raises(StreamingError, match='--limit'):
        crew.address(crew.start(sink('raw-socket')))
