"""Named pipes between commands and channels."""

from __future__ import annotations

import os
import queue
import stat
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parsl_streaming.errors import ChannelAborted
from parsl_streaming.errors import ChannelFull
from parsl_streaming.errors import ChannelTimeout
from parsl_streaming.errors import EndOfStream
from parsl_streaming.errors import UsageError
from parsl_streaming.fifo import Fifos
from parsl_streaming.reader import Reader
from parsl_streaming.spec import ChannelSpec

CHANNEL = ChannelSpec(name='frames', source='a', target='b', timeout=30.0)


class FakeReader(Reader):
    """Gives lines, then whatever ends the stream; `None` keeps it open."""

    def __init__(self, *lines: object, end: Exception | None = None, timeout: float = 30.0) -> None:
        self.channel = ChannelSpec(name='frames', source='a', target='b', timeout=timeout)
        self.lines = queue.SimpleQueue[Any]()
        for line in lines:
            self.lines.put(line)
        self.end = end
        self.acknowledged: list[object] = []

    def receive(self, timeout: float | None = None) -> Any:
        if self.lines.empty() and self.end is not None:
            raise self.end
        try:
            line = self.lines.get(timeout=timeout)
        except queue.Empty:
            msg = 'nothing came'
            raise ChannelTimeout(msg) from None
        return SimpleNamespace(value=line, ack=lambda: self.acknowledged.append(line))


class FakeWriter:
    def __init__(self, most: int | None = None) -> None:
        self.lines: list[bytes] = []
        self.most = most

    def send(self, line: bytes) -> None:
        if len(self.lines) == self.most:
            msg = 'no reader gave credit'
            raise ChannelFull(msg)
        self.lines.append(line)


def run(command: str, **ends: Any) -> int:
    """Run a shell command with `$name` as the pipe of each end."""
    with Fifos(ends) as fifos:
        status = subprocess.run(
            ['bash', '-c', command], env=os.environ | fifos.paths, check=False, timeout=20
        ).returncode
        fifos.finish()
    return status


def ended(*lines: object) -> FakeReader:
    return FakeReader(*lines, end=EndOfStream('every writer has ended'))


def test_lines_go_in_and_out() -> None:
    reader, writer = ended(b'one', b'two', b''), FakeWriter()
    assert run('tr a-z A-Z < $frames > $peaks', frames=reader, peaks=writer) == 0
    assert writer.lines == [b'ONE', b'TWO', b'']
    assert reader.acknowledged == [b'one', b'two', b'']


def test_text_goes_in_as_it_is() -> None:
    reader, writer = ended('größer', b'smaller'), FakeWriter()
    run('cat $frames > $peaks', frames=reader, peaks=writer)
    assert writer.lines == ['größer'.encode(), b'smaller']


@pytest.mark.parametrize(
    ('value', 'what'),
    [
        ({'a': 1}, 'a value of type dict'),
        (7, 'a value of type int'),
        ('a\nb', 'text of several lines'),
    ],
)
def test_what_is_no_line_is_refused(value: object, what: str) -> None:
    reader = ended(value)
    with pytest.raises(UsageError, match=f"'frames': a bash app reads lines, but was sent {what}"):
        run('cat $frames', frames=reader)
    assert reader.acknowledged == []


def test_last_line_needs_no_newline() -> None:
    writer = FakeWriter()
    run('printf "a\\nb" > $peaks', peaks=writer)
    assert writer.lines == [b'a', b'b']


def test_pipe_may_be_opened_for_writing_many_times() -> None:
    writer = FakeWriter()
    run('for i in 1 2 3; do echo $i > $peaks; sleep 0.05; done', peaks=writer)
    assert writer.lines == [b'1', b'2', b'3']


def test_much_data() -> None:
    lines = [f'{i:07d}'.encode() for i in range(20_000)]
    reader, writer = ended(*lines), FakeWriter()
    run('cat $frames > $peaks', frames=reader, peaks=writer)
    assert writer.lines == lines


def test_pipes_that_the_command_does_not_open() -> None:
    reader, writer = FakeReader(b'one'), FakeWriter()
    assert run('exit 3', frames=reader, peaks=writer) == 3
    assert reader.acknowledged == []
    assert writer.lines == []


def test_command_that_ends_before_its_stream_does() -> None:
    reader = FakeReader(b'one', timeout=300.0)
    assert run('head -n 1 < $frames', frames=reader) == 0
    assert reader.acknowledged == [b'one']


def test_command_that_stops_reading_leaves_the_rest() -> None:
    reader = FakeReader(*[bytes(1000)] * 500)
    assert run('head -c 10 < $frames > /dev/null; sleep 0.2', frames=reader) == 0
    assert len(reader.acknowledged) < 500


def test_broken_stream_is_raised_when_the_command_has_ended() -> None:
    reader = FakeReader(b'one', end=ChannelAborted('its producer failed'))
    with pytest.raises(ChannelAborted, match='its producer failed'):
        run('cat $frames', frames=reader)


def test_silent_stream_is_raised() -> None:
    with pytest.raises(ChannelTimeout):
        run('cat $frames', frames=FakeReader(timeout=0.2))


def test_failed_writer_stops_a_command_that_writes_on() -> None:
    writer = FakeWriter(most=1)
    with pytest.raises(ChannelFull):
        run('while echo y > $peaks && [ -p $peaks ]; do :; done', peaks=writer)
    with pytest.raises(ChannelFull):
        run('yes > $peaks', peaks=FakeWriter(most=1))


def test_pipe_opened_again_after_the_end_fails_instead_of_waiting() -> None:
    status = run('cat $frames; sleep 0.3; cat $frames', frames=ended(b'one'))
    assert status == 1


def test_files_are_private_and_go_away() -> None:
    before = threading.active_count()
    with Fifos({'frames': ended(), 'peaks': FakeWriter()}) as fifos:  # type: ignore[dict-item]
        path = Path(fifos.paths['peaks'])
        assert stat.S_ISFIFO(path.stat().st_mode)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        directory = path.parent
    assert not directory.exists()
    assert threading.active_count() == before
