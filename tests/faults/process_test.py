"""Processes are killed and frozen in the middle of their work; nothing acknowledged is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_child import Orders
from fault_child import start
from history import Journal
from history import Verdict
from history import judge
from sessions import configuration

import parsl_streaming
from parsl_streaming.route import Ticket

pytestmark = pytest.mark.fault

PATIENCE = 40.0
LEASE = 1.0
SCHEDULING = 10.0
"""Generous: the machine may be busy."""


class Stage:
    """A session with one channel, and the processes on it."""

    def __init__(self, directory: Path, architecture: str, **channel: Any) -> None:
        declared = {'lease': LEASE, 'batch_messages': 8, 'timeout': PATIENCE} | channel
        config = configuration(directory, frames=declared)
        self.directory = directory
        self.context = parsl_streaming.load(config, architecture=architecture)
        self.session = self.context.__enter__()
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.journals: dict[str, Journal] = {}

    def ticket(self, role: str, name: str) -> Ticket:
        return self.session.ticket('frames', role, name=name).result(PATIENCE)

    def start(self, ticket: Ticket, label: str, **orders: Any) -> Journal:
        path = self.directory / f'{label}.journal'
        self.children[label] = start(Orders(ticket, path, label, **orders))
        self.journals[label] = Journal(path)
        return self.journals[label]

    def send_signal(self, label: str, number: signal.Signals) -> float:
        os.kill(self.children[label].pid, number)
        return time.time()

    def join(self, *labels: str) -> None:
        for label in labels:
            assert self.children[label].wait(PATIENCE) == 0

    def judge(self) -> Verdict:
        return judge(self.journals.values())

    def close(self) -> None:
        for child in self.children.values():
            child.kill()
            child.wait()
        self.context.__exit__(None, None, None)


@pytest.fixture(params=['dts', 'mss'])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path, request.param)
    yield stage
    stage.close()


def wait_for(what: Callable[[], Any], patience: float = PATIENCE) -> Any:
    deadline = time.monotonic() + patience
    while not (found := what()):
        assert time.monotonic() < deadline, 'it did not happen in time'
        time.sleep(0.02)
    return found


def again(journal: Journal, record: dict[str, Any]) -> dict[str, Any] | None:
    """The arrival at another consumer of the message that a record tells of."""
    return next(
        (
            each
            for each in journal.records('received')
            if (each['producer'], each['seq']) == (record['producer'], record['seq'])
        ),
        None,
    )


def report(what: str, seconds: float, verdict: Verdict) -> None:
    print(  # noqa: T201 (the measured time is a result of the test)
        f'\n{what}: redelivered after {seconds:.2f} s (lease {LEASE:g} s); '
        f'{verdict.duplicates} duplicates, {verdict.redelivered} marked'
    )


def test_killed_consumer(stage: Stage, request: pytest.FixtureRequest) -> None:
    readers = [stage.ticket('reader', name) for name in ('victim', 'heir')]
    victim = stage.start(readers[0], 'victim', hold=20, pace=0.001)
    heir = stage.start(readers[1], 'heir', pace=0.001)
    stage.start(stage.ticket('writer', 'p'), 'p', count=400)
    wait_for(lambda: victim.records('held'))
    held = victim.records('received')[-1]
    killed = stage.send_signal('victim', signal.SIGKILL)
    stage.join('heir', 'p')
    arrival = again(heir, held)
    verdict = stage.judge()
    assert verdict.sound, verdict
    assert arrival is not None
    assert arrival['redelivered']
    done = heir.records('done') + victim.records('done')
    assert len({(each['producer'], each['seq']) for each in done}) == 400
    report(request.node.name, arrival['time'] - killed, verdict)
    assert arrival['time'] - killed < LEASE + SCHEDULING


def test_frozen_consumer(stage: Stage, request: pytest.FixtureRequest) -> None:
    readers = [stage.ticket('reader', name) for name in ('sleeper', 'heir')]
    sleeper = stage.start(readers[0], 'sleeper', hold=20, pause=0.5, pace=0.001)
    heir = stage.start(readers[1], 'heir', pace=0.001)
    stage.start(stage.ticket('writer', 'p'), 'p', count=400)
    wait_for(lambda: sleeper.records('held'))
    held = sleeper.records('received')[-1]
    frozen = stage.send_signal('sleeper', signal.SIGSTOP)
    arrival = wait_for(lambda: again(heir, held))
    stage.send_signal('sleeper', signal.SIGCONT)
    stage.join('sleeper', 'heir', 'p')
    verdict = stage.judge()
    assert verdict.sound, verdict
    assert arrival['redelivered']
    report(request.node.name, arrival['time'] - frozen, verdict)
    assert arrival['time'] - frozen < LEASE + SCHEDULING


def test_killed_producer_that_is_started_again(stage: Stage) -> None:
    consumer = stage.start(stage.ticket('reader', 'c'), 'c')
    ticket = stage.ticket('writer', 'p')
    first = stage.start(ticket, 'first', count=400, hold=220)
    wait_for(lambda: first.records('held'))
    stage.send_signal('first', signal.SIGKILL)
    second = stage.start(ticket, 'second', count=400)
    stage.join('c', 'second')
    verdict = stage.judge()
    assert verdict.sound, verdict
    assert len(first.records('safe')) == 200
    assert len(second.records('safe')) == 400
    assert consumer.records('aborted') == []


def test_killed_producer_that_is_not_started_again(stage: Stage) -> None:
    consumer = stage.start(stage.ticket('reader', 'c'), 'c')
    ticket = stage.ticket('writer', 'p')
    producer = stage.start(ticket, 'p', count=400, hold=220)
    wait_for(lambda: producer.records('held'))
    stage.send_signal('p', signal.SIGKILL)
    stage.session.fail(ticket, 'WorkerLost: its worker died')
    stage.join('c')
    verdict = stage.judge()
    assert verdict.sound, verdict
    [aborted] = consumer.records('aborted')
    assert "producer 'p' failed (WorkerLost: its worker died)" in aborted['reason']


def _kill_broker(broker: Any, consumer: Journal, arrivals: int) -> float:
    """Kill the broker after so many arrivals; gives the seconds until the next."""
    wait_for(lambda: len(consumer.records('received')) >= arrivals)
    before = broker.pid
    os.kill(before, signal.SIGKILL)
    killed = time.time()
    wait_for(lambda: broker.pid not in (before, None))
    # What the consumer had in hand when the broker died is no news.
    late = wait_for(lambda: [r for r in consumer.records('received') if r['time'] > killed + 0.05])
    seconds: float = late[0]['time'] - killed
    return seconds


def test_killed_broker(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 'mss', durability='disk')
    try:
        consumer = stage.start(stage.ticket('reader', 'c'), 'c', pace=0.001)
        for label in ('p', 'q'):
            stage.start(stage.ticket('writer', label), label, count=600, pace=0.001, flush=20)
        [broker] = stage.session._architectures.get('mss')._brokers.values()  # type: ignore[attr-defined]
        for arrivals in (100, 500):
            seconds = _kill_broker(broker, consumer, arrivals)
            print(f'\nkilled broker: messages flow again after {seconds:.2f} s')  # noqa: T201 (as above)
        stage.join('p', 'q', 'c')
        verdict = stage.judge()
        assert verdict.sound, verdict
        done = {(r['producer'], r['seq']) for r in consumer.records('done')}
        assert len(done) == 1200
    finally:
        stage.close()
