"""Connections are cut again and again while messages flow: nothing is lost or comes twice."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sessions import PATIENCE
from sessions import configuration

import parsl_streaming
from parsl_streaming.reader import Reader
from parsl_streaming.writer import Writer
from parsl_streaming_dts.reader import DirectReader

MESSAGES = 800


@pytest.fixture
def relays(monkeypatch: pytest.MonkeyPatch, relay: Callable[[int], Any], which: str) -> list[Any]:
    """Relays in front of every reader's control or data port, or both."""
    made: list[Any] = []
    listen = DirectReader._listen

    def through(port: int, kind: str) -> int:
        if which not in (kind, 'both'):
            return port
        made.append(relay(port))
        return int(made[-1].port)

    def listen_behind(reader: DirectReader) -> list[tuple[str, int, int]]:
        return [(h, through(c, 'control'), through(d, 'data')) for h, c, d in listen(reader)]

    monkeypatch.setattr(DirectReader, '_listen', listen_behind)
    return made


def _cut(relays: list[Any], stop: threading.Event) -> None:
    dice = random.Random(1)
    while not stop.wait(0.1 + dice.random() * 0.1):
        dice.choice(relays).cut()


def _read(reader: Reader) -> list[Any]:
    got = []
    with reader:
        for message in reader:
            got.append(tuple(message.value))
            if reader.channel.pattern.has_replies:
                message.reply(message.value)
    return got


def _write(writer: Writer, name: str) -> None:
    replies = []
    with writer:
        for i in range(MESSAGES):
            if writer.channel.pattern.has_replies:
                replies.append(writer.request([name, i]))
            else:
                writer.send([name, i], key=i % 16)
            if i % 50 == 0:
                threading.Event().wait(0.02)  # so that some are cut off in the middle
        assert [reply.result(PATIENCE)[1] for reply in replies] == list(range(len(replies)))


@pytest.mark.fault
@pytest.mark.parametrize('which', ['data', 'control', 'both'])
@pytest.mark.parametrize(
    'channel',
    [
        {},
        {'pattern': 'shuffle', 'partitions': 4},
        {'pattern': 'broadcast', 'readers': 2},
        {'pattern': 'feedback'},
    ],
    ids=['work-sharing', 'shuffle', 'broadcast', 'feedback'],
)
def test_cuts_lose_nothing(tmp_path: Path, relays: list[Any], channel: dict[str, Any]) -> None:
    settings = {'lease': '3 s', 'credit_messages': 64, 'batch_messages': 8, 'writers': 2}
    config = configuration(tmp_path, frames=settings | channel)
    stop = threading.Event()
    with (
        parsl_streaming.load(config, architecture='dts'),
        ThreadPoolExecutor(5) as pool,
    ):
        readers = [parsl_streaming.reader('frames') for _ in range(2)]
        cutting = pool.submit(_cut, relays, stop)
        reading = [pool.submit(_read, reader) for reader in readers]
        writing = [pool.submit(_write, parsl_streaming.writer('frames'), name) for name in 'ab']
        try:
            for each in writing:
                each.result(2 * PATIENCE)
        finally:
            stop.set()
        cutting.result(PATIENCE)
        got = [each.result(PATIENCE) for each in reading]
    everything = [(name, i) for name in 'ab' for i in range(MESSAGES)]
    shares = got if channel.get('pattern') == 'broadcast' else [got[0] + got[1]]
    assert [sorted(share) for share in shares] == [everything] * len(shares)
