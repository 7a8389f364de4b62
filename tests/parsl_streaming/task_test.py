"""The ends of a task are opened, closed and failed together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sessions import PATIENCE
from sessions import configuration

import parsl_streaming
from parsl_streaming import task
from parsl_streaming.errors import BrokerUnavailable
from parsl_streaming.errors import ChannelTimeout
from parsl_streaming.errors import RegistryUnreachable
from parsl_streaming.route import Ticket
from parsl_streaming.task import task_ends


class Stage:
    """Fake ends that note what is done to them; `trouble` makes a step fail."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.trouble: dict[str, Exception] = {}

    def note(self, step: str) -> None:
        self.log.append(step)
        if step in self.trouble:
            raise self.trouble[step]

    def open_writer(self, ticket: Any) -> Any:
        self.note(f'open {ticket.name}')
        return _FakeEnd(ticket.name, self.note)

    def open_reader(self, ticket: Any, **options: Any) -> Any:
        self.note(f'open {ticket.name}')
        return _FakeEnd(ticket.name, self.note, **options)


class _FakeEnd:
    def __init__(self, name: str, note: Callable[[str], None], **options: Any) -> None:
        self.name = name
        self.note = note
        self.options = options

    def close(self) -> None:
        self.note(f'close {self.name}')

    def abandon(self, *, retry: bool = False) -> None:
        assert retry
        self.note(f'abandon {self.name}')

    def abort(self, reason: str, *, retry: bool) -> None:
        self.note(f'abort {self.name} ({reason}) retry={retry}')


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    monkeypatch.setattr(task, 'open_writer', stage.open_writer)
    monkeypatch.setattr(task, 'open_reader', stage.open_reader)
    return stage


def _tickets() -> Any:
    ends = {'r1': 'reader', 'w1': 'writer', 'w2': 'writer', 'r2': 'reader'}
    return {
        name: Ticket(route=None, role=role, name=name, call='c')  # type: ignore[arg-type]
        for name, role in ends.items()
    }


def test_writers_open_first_and_close_last(stage: Stage) -> None:
    with task_ends(_tickets(), manual=True) as ends:
        assert sorted(ends) == ['r1', 'r2', 'w1', 'w2']
        options = ends['r1'].options  # type: ignore[union-attr] # a fake
        assert options == {'manual': True, 'outputs': [ends['w1'], ends['w2']]}
    assert stage.log == [
        *('open w1', 'open w2', 'open r1', 'open r2'),
        *('close r1', 'close r2', 'close w1', 'close w2'),
    ]


@pytest.mark.parametrize('error', [ValueError('why'), KeyboardInterrupt('why')])
def test_failed_body_gives_back_and_aborts(stage: Stage, error: BaseException) -> None:
    with pytest.raises(type(error)), task_ends(_tickets()):
        raise error
    why = f'({type(error).__name__}: why) retry=True'
    assert stage.log[4:] == ['abandon r1', 'abandon r2', f'abort w1 {why}', f'abort w2 {why}']


def test_end_that_cannot_be_opened_fails_those_that_are(stage: Stage) -> None:
    stage.trouble['open r2'] = RegistryUnreachable('no answer')
    with pytest.raises(RegistryUnreachable), task_ends(_tickets()):
        pytest.fail('the body must not run')
    why = '(RegistryUnreachable: no answer) retry=True'
    assert stage.log[4:] == ['abandon r1', f'abort w1 {why}', f'abort w2 {why}']


def test_end_that_cannot_be_closed_fails_the_task(stage: Stage) -> None:
    stage.trouble['close w1'] = BrokerUnavailable('gone')
    with pytest.raises(BrokerUnavailable), task_ends(_tickets()):
        pass
    assert stage.log[-2:] == [
        f'abort {w} (BrokerUnavailable: gone) retry=True' for w in ('w1', 'w2')
    ]


def test_trouble_while_leaving_hides_neither_cause_nor_other_ends(stage: Stage) -> None:
    stage.trouble['abandon r1'] = BrokerUnavailable('gone')
    stage.trouble['abort w1 (ValueError: why) retry=True'] = BrokerUnavailable('gone')
    error = ValueError('why')
    with pytest.raises(ValueError, match='why'), task_ends(_tickets()):
        raise error
    assert [step.split(' (')[0] for step in stage.log[4:]] == [
        *('abandon r1', 'abandon r2', 'abort w1', 'abort w2')
    ]


@pytest.mark.parametrize('architecture', ['memory', 'dts'])
def test_what_is_read_is_acknowledged_after_what_it_led_to(
    tmp_path: Path, architecture: str
) -> None:
    config = configuration(tmp_path, frames={}, peaks={'from': 'hpc', 'to': 'submit'})
    with parsl_streaming.load(config, architecture=architecture) as session:
        frames, peaks = (
            session.ticket(*place).result(PATIENCE)
            for place in (('frames', 'reader'), ('peaks', 'writer'))
        )
        source = parsl_streaming.writer('frames')
        sink = parsl_streaming.reader('peaks', manual=True)
        with task_ends({'frames': frames, 'peaks': peaks}) as ends:
            source.send('one')
            got = ends['frames'].receive(PATIENCE)  # type: ignore[union-attr]
            ends['peaks'].send(got.value)  # type: ignore[union-attr]
            got.ack()
            result = sink.receive(PATIENCE)
            with pytest.raises(ChannelTimeout):
                source.flush(0.5)
            result.ack()
            source.flush(PATIENCE)
        source.close()
        assert list(sink) == []
        sink.close()
