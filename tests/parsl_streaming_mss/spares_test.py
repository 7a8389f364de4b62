"""Connections that are used again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from parsl_streaming_mss import spares as module
from parsl_streaming_mss.broker import Broker
from parsl_streaming_mss.connect import Endpoint
from parsl_streaming_mss.connect import connect
from parsl_streaming_mss.line import Line

BUFFER = 1 << 16


@pytest.fixture(autouse=True)
def none_before() -> Iterator[None]:
    module.close_kept()
    yield
    module.close_kept()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with closing(Broker(directory=tmp_path)) as broker:
        yield broker


def connections(broker: Broker) -> int:
    """How many the broker has accepted so far, this one included."""
    with closing(connect(broker.endpoint)) as connection:
        text = bytes(connection.ask(['INFO', 'stats'])[0]).decode()
    return int(text.partition('total_connections_received:')[2].split()[0])


def line_to(endpoint: Endpoint) -> Line:
    return Line(endpoint, lambda: None, buffer_bytes=BUFFER)


def test_a_line_takes_the_connection_of_one_before(broker: Broker) -> None:
    line_to(broker.endpoint).close()
    before = connections(broker)
    for word in ('one', 'two'):
        line = line_to(broker.endpoint)
        assert line.ask(['ECHO', word]) == [word.encode()]
        line.close()
        line.close()
    assert connections(broker) == before + 1


def test_lines_at_the_same_time_have_their_own(broker: Broker) -> None:
    line_to(broker.endpoint).close()
    first, second = line_to(broker.endpoint), line_to(broker.endpoint)
    assert (first.ask(['ECHO', '1']), second.ask(['ECHO', '2'])) == ([b'1'], [b'2'])
    first.close()
    second.close()


def test_one_that_awaits_a_reply_is_not_kept(broker: Broker) -> None:
    line = line_to(broker.endpoint)
    line.add(lambda reply: None, ['ECHO', 'stale'])
    line.exchange(0.0)
    line.add(lambda reply: None, ['ECHO', 'stale'])
    line.close()
    assert module.take(broker.endpoint, BUFFER) is None


def test_another_user_never_gets_it(broker: Broker) -> None:
    line_to(broker.endpoint).close()
    assert module.take(replace(broker.endpoint, user='other'), BUFFER) is None
    kept = module.take(broker.endpoint, BUFFER)
    assert kept is not None
    kept.close()


def test_one_that_waited_long_is_closed(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    line_to(broker.endpoint).close()
    monkeypatch.setattr(module, 'IDLE_SECONDS', -1.0)
    assert module.take(broker.endpoint, BUFFER) is None
    assert module._mine() == []


def test_one_whose_broker_has_gone_is_closed(broker: Broker) -> None:
    line_to(broker.endpoint).close()
    before = broker.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    limit = time.monotonic() + 10
    while broker.pid in (None, before):
        assert time.monotonic() < limit
        time.sleep(0.01)
    assert module.take(broker.endpoint, BUFFER) is None


def test_few_are_kept(broker: Broker) -> None:
    lines = [line_to(broker.endpoint) for _ in range(module.MOST_KEPT + 2)]
    for line in lines:
        line.close()
    assert len(module._mine()) == module.MOST_KEPT
    module.close_kept()
    assert module._mine() == []


def test_a_forked_child_has_none(broker: Broker) -> None:
    line_to(broker.endpoint).close()
    child = os.fork()
    if child == 0:
        os._exit(0 if module.take(broker.endpoint, BUFFER) is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    kept = module.take(broker.endpoint, BUFFER)
    assert kept is not None
    assert kept.ask(['ECHO', 'still']) == [b'still']
    kept.close()
