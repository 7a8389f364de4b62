"""The connection that comes back."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from parsl_streaming.errors import BrokerUnavailable
from parsl_streaming_mss.broker import Broker
from parsl_streaming_mss.line import Line


@pytest.fixture
def broker(tmp_path: Path) -> Any:
    broker = Broker(directory=tmp_path)
    yield broker
    broker.close()


def exchange_until(line: Line, replies: list, count: int) -> None:
    deadline = time.monotonic() + 10
    while len(replies) < count:
        assert time.monotonic() < deadline
        line.exchange(0.1)


def test_replies_go_to_their_handlers_in_order(broker: Broker) -> None:
    line = Line(broker.endpoint, lambda: None, buffer_bytes=1 << 16)
    replies: list = []
    for word in ('one', 'two'):
        line.add(replies.append, ['ECHO', word])
    exchange_until(line, replies, 2)
    assert replies == [b'one', b'two']
    assert not line.busy
    line.close(1.0)
    line.close()


def test_what_was_lost_is_sent_again_by_restore(broker: Broker) -> None:
    replies: list = []
    line = Line(
        broker.endpoint,
        lambda: line.add(replies.append, ['ECHO', 'again']),
        buffer_bytes=1 << 16,
    )
    pid = broker.pid
    os.kill(pid, signal.SIGKILL)
    line.add(replies.append, ['ECHO', 'first'])
    exchange_until(line, replies, 1)
    assert replies[-1] == b'again'
    assert line.reconnections >= 1
    assert broker.pid != pid
    line.close()


def test_a_frozen_broker_is_waited_for(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(broker.endpoint, lambda: None, buffer_bytes=1 << 16)
    replies: list = []
    os.kill(broker.pid, signal.SIGSTOP)
    line.add(replies.append, ['ECHO', 'late'])
    assert line.exchange(0.05) is False
    os.kill(broker.pid, signal.SIGCONT)
    exchange_until(line, replies, 1)
    assert replies == [b'late']
    line.close()


def test_a_silent_connection_is_given_up(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('parsl_streaming_mss.line.IO_TIMEOUT', 0.1)
    replies: list = []
    line = Line(
        broker.endpoint,
        lambda: line.add(replies.append, ['ECHO', 'again']),
        buffer_bytes=1 << 16,
    )
    line.add(replies.append, ['BLPOP', 'nothing', '5'])
    exchange_until(line, replies, 1)
    assert replies == [b'again']
    line.close()


def test_asking_a_dead_broker(broker: Broker) -> None:
    line = Line(broker.endpoint, lambda: None, buffer_bytes=1 << 16)
    assert line.ask(['PING']) == [b'PONG']
    broker.close()
    for _ in range(2):
        with pytest.raises(BrokerUnavailable):
            line.ask(['PING'])
    line.close()
