"""The session in use, and ends outside apps."""

from __future__ import annotations

from pathlib import Path

import pytest
from sessions import PATIENCE
from sessions import configuration

import parsl_streaming
from parsl_streaming.current import current_session
from parsl_streaming.errors import ConfigError
from parsl_streaming.errors import ProducerNameTaken
from parsl_streaming.errors import UnknownChannel
from parsl_streaming.errors import UsageError


def test_without_session() -> None:
    for use in (current_session, lambda: parsl_streaming.reader('frames')):
        with pytest.raises(UsageError, match=r'with parsl_streaming\.load\('):
            use()


def test_the_last_loaded_session_is_used(tmp_path: Path) -> None:
    config = configuration(tmp_path, frames={})
    with parsl_streaming.load(config, architecture='memory') as outer:
        assert current_session() is outer
        with parsl_streaming.load(config, architecture='memory') as inner:
            assert current_session() is inner
        assert current_session() is outer
    with pytest.raises(UsageError):
        current_session()


def test_a_wrong_configuration_loads_nothing(tmp_path: Path) -> None:
    config = configuration(tmp_path, frames={'leese': 1})
    with pytest.raises(ConfigError, match='did you mean "lease"'), parsl_streaming.load(config):
        pass
    with pytest.raises(UsageError):
        current_session()


def test_a_session_ends_when_its_body_raised(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyError),
        parsl_streaming.load(configuration(tmp_path, frames={}), architecture='memory'),
    ):
        raise KeyError
    with pytest.raises(UsageError):
        current_session()


def test_ends_outside_apps(tmp_path: Path) -> None:
    with (
        parsl_streaming.load(configuration(tmp_path, frames={}), architecture='memory'),
        parsl_streaming.reader('frames', name='viewer', manual=True) as reader,
        parsl_streaming.writer('frames', name='camera') as writer,
    ):
        writer.send(1)
        message = reader.receive(PATIENCE)
        assert (message.value, message.producer) == (1, 'camera')
        message.ack()
        writer.close()
        assert list(reader) == []


def test_names_are_taken_once(tmp_path: Path) -> None:
    with parsl_streaming.load(configuration(tmp_path, frames={}), architecture='memory'):
        with (
            parsl_streaming.writer('frames', name='camera'),
            pytest.raises(ProducerNameTaken, match='give each its own name'),
        ):
            parsl_streaming.writer('frames', name='camera')
        assert list(parsl_streaming.reader('frames')) == []


def test_unknown_channel_and_start_without_replay(tmp_path: Path) -> None:
    with parsl_streaming.load(configuration(tmp_path, frames={}), architecture='memory'):
        with pytest.raises(UnknownChannel, match='"frames"'):
            parsl_streaming.writer('frame')
        with pytest.raises(ConfigError, match='replay = true'):
            parsl_streaming.reader('frames', start='begin')
