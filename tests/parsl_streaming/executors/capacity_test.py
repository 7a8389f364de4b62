from __future__ import annotations

import logging
from typing import Any
from unittest.mock import Mock

import pytest

from parsl_streaming.errors import CapacityError
from parsl_streaming.executors.capacity import Capacity


def place(role: str, channel: str = 'frames') -> Any:
    ticket = Mock(role=role)
    ticket.route.channel.name = channel
    return ticket


def test_as_many_tasks_as_slots_are_admitted() -> None:
    capacity = Capacity('hpc')
    for role in ('reader', 'writer'):
        capacity.admit([place(role)], 2)


def test_ends_that_would_wait_for_each_other_are_refused_with_the_numbers() -> None:
    capacity = Capacity('hpc')
    for role in ('reader', 'reader'):
        capacity.admit([place(role)], 2)
    message = (
        "'hpc' can run 2 tasks at once, but 3 streaming .* 2 readers and 1 writers of channel "
        "'frames'"
    )
    with pytest.raises(CapacityError, match=message):
        capacity.admit([place('writer')], 2)


def test_what_was_refused_or_is_done_does_not_count() -> None:
    capacity = Capacity('hpc')
    capacity.admit([place('reader')], 1)
    with pytest.raises(CapacityError):
        capacity.admit([place('writer')], 1)
    capacity.release([place('reader')])
    capacity.admit([place('writer')], 1)


def test_ends_of_one_role_wait_with_a_warning_once(caplog: pytest.LogCaptureFixture) -> None:
    capacity = Capacity('hpc')
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            capacity.admit([place('reader')], 2)
    (record,) = caplog.records
    assert "'hpc' can run 2 tasks at once, and has 3 streaming tasks" in record.getMessage()


def test_unknown_slots_refuse_nothing() -> None:
    capacity = Capacity('hpc')
    for role in ('reader', 'writer') * 50:
        capacity.admit([place(role)], None)


def test_a_task_between_two_channels_shares_neither() -> None:
    capacity = Capacity('hpc')
    capacity.admit([place('reader', 'a'), place('writer', 'b')], 1)
    capacity.admit([place('reader', 'a'), place('writer', 'b')], 1)
    with pytest.raises(CapacityError, match="channel 'b'"):
        capacity.admit([place('reader', 'b')], 1)
