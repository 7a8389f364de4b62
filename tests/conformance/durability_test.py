"""What an architecture that stores messages promises besides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from parsl_streaming.errors import ConfigError

Stages = Callable[..., Any]


def test_a_writer_may_close_before_any_reader_exists(stage: Stages) -> None:
    here = stage(durability='memory')
    here.send(*range(100)).result(10)
    assert here.read().result(10) == list(range(100))


def test_what_was_flushed_survives_its_writer(stage: Stages) -> None:
    here = stage(durability='memory')
    first = here.writer('p', 'call')
    first.send('kept')
    first.flush(5)
    first.abort('preempted', retry=True)
    got = here.read()
    here.send('more', writer=here.writer('p', 'call')).result(10)
    assert got.result(10) == ['kept', 'more']


def test_every_declared_group_finds_what_was_sent_before(stage: Stages) -> None:
    here = stage(durability='memory')
    readers = [here.reader(group=group) for group in ('live', 'archive')]
    here.send(*range(20)).result(10)
    for reader in readers:
        assert here.read(reader).result(10) == list(range(20))


@pytest.mark.parametrize('start', ['begin', '0'])
def test_a_replay_begins_at_the_beginning(stage: Stages, start: str) -> None:
    here = stage(durability='memory', replay=True)
    got = here.read(here.reader(group='live'))
    here.send(*range(50)).result(10)
    assert got.result(10) == list(range(50))
    assert here.read(here.reader(group='later', start=start)).result(10) == list(range(50))


def test_a_reader_may_begin_at_the_end(stage: Stages) -> None:
    here = stage(durability='memory', replay=True)
    writer = here.writer()
    writer.send('before')
    writer.flush(5)
    reader = here.reader(group='late', start='end')
    got = here.read(reader)
    here.send('after', writer=writer).result(10)
    assert got.result(10) == ['after']


def test_a_start_needs_a_channel_that_can_be_replayed(stage: Stages) -> None:
    here = stage()
    with pytest.raises(ConfigError, match='replay = true'):
        here.reader(start='begin')
