"""`@streaming` over real Parsl apps, in threads of this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from parsl import bash_app
from parsl import join_app
from parsl import python_app
from parsl.dataflow.errors import DependencyError
from parsl.errors import NoDataFlowKernelError
from sessions import PATIENCE
from sessions import configuration
from sessions import threads

import parsl_streaming
from parsl_streaming import streaming
from parsl_streaming import version
from parsl_streaming.architectures import register
from parsl_streaming.architectures import unregister
from parsl_streaming.errors import BrokerUnavailable
from parsl_streaming.errors import ChannelAborted
from parsl_streaming.errors import NoRoute
from parsl_streaming.errors import UnknownChannel
from parsl_streaming.errors import UsageError
from parsl_streaming.errors import VersionMismatch
from parsl_streaming.testing import MemoryStreaming

in_both = pytest.mark.parametrize('architecture', ['memory', 'dts'])


@streaming(writes='frames')
@python_app
def count(frames: Any, n: int) -> None:
    for i in range(n):
        frames.send(i)


@streaming(reads='frames')
@python_app
def collect(frames: Any) -> list[Any]:
    return [message.value for message in frames]


@streaming(reads='frames', writes='peaks')
@python_app
def double(frames: Any, peaks: Any) -> None:
    for frame in frames:
        peaks.send(2 * frame.value)


# How the decorator is used.


def _raised(decorate: Any) -> str:
    with pytest.raises(UsageError) as caught:
        decorate()
    return str(caught.value)


def test_wrong_order_says_where_the_decorator_belongs() -> None:
    def app(frames: Any) -> None: ...

    said = _raised(lambda: python_app(streaming(reads='frames')(app)))
    assert 'on the line above @python_app' in said
    assert 'app' in said


def test_decorating_twice_is_refused() -> None:
    said = _raised(lambda: streaming(writes='frames')(count))
    assert 'once' in said


def test_memoised_app_is_refused() -> None:
    @python_app(cache=True)
    def app(frames: Any) -> None: ...

    said = _raised(lambda: streaming(reads='frames')(app))
    assert 'app()' in said
    assert 'remove cache=True' in said


@pytest.mark.parametrize('kind', [python_app, bash_app, join_app])
def test_missing_parameter_is_named(kind: Any) -> None:
    def app(path: str) -> None: ...

    said = _raised(lambda: streaming(reads='frames')(kind(app)))
    assert "'frames'" in said
    assert '(path)' in said
    assert 'add the parameter' in said


@pytest.mark.parametrize(('reads', 'writes'), [('a', 'a'), (['a', 'b'], ['b']), ((), ())])
def test_channel_in_both_roles_or_none_is_refused(reads: Any, writes: Any) -> None:
    said = _raised(lambda: streaming(reads=reads, writes=writes))
    assert 'reads= or writes=' in said


@pytest.mark.parametrize('kind', [bash_app, join_app])
def test_map_takes_python_apps_only(kind: Any) -> None:
    def app(frames: Any) -> None: ...

    said = _raised(lambda: streaming.map(reads='frames')(kind(app)))
    assert '@python_app' in said


def test_map_needs_a_worker() -> None:
    @python_app
    def app(frames: Any) -> None: ...

    assert 'workers=0' in _raised(lambda: streaming.map(reads='frames', workers=0)(app))


@pytest.mark.parametrize('batch', [0, -3])
def test_map_needs_a_message_in_a_batch(batch: int) -> None:
    assert f'batch={batch}' in _raised(lambda: streaming.map(reads='frames', batch=batch))


def test_call_without_session_says_how_to_load_one() -> None:
    assert 'parsl_streaming.load(' in _raised(lambda: count(3))


def test_unknown_channel_is_refused_at_the_call(tmp_path: Path) -> None:
    config = configuration(tmp_path, frame={})
    with threads(config), pytest.raises(UnknownChannel, match='did you mean "frame"'):
        count(3)


def test_a_call_that_is_refused_declares_no_end(tmp_path: Path) -> None:
    with threads(configuration(tmp_path, frames={})) as session:
        with pytest.raises(UnknownChannel):
            double()
        assert session.routes == {}


def test_a_task_that_parsl_refuses_counts_as_failed(tmp_path: Path) -> None:
    config = configuration(tmp_path, frames={})
    with parsl_streaming.load(config, architecture='memory'):  # but no Parsl
        with pytest.raises(NoDataFlowKernelError):
            count(3)
        with (
            parsl_streaming.reader('frames') as reader,
            pytest.raises(ChannelAborted, match='NoDataFlowKernelError'),
        ):
            reader.receive(PATIENCE)


def test_channel_given_by_the_caller_is_refused(tmp_path: Path) -> None:
    with threads(configuration(tmp_path, frames={})):
        said = _raised(lambda: count(n=3, frames=7))
    assert 'count()' in said
    assert 'without them' in said


def test_plain_app_stays_as_it_was(tmp_path: Path) -> None:
    @python_app
    def plain(frames: Any, n: int) -> Any:
        return frames, n

    before = dict(vars(plain))
    streamed = streaming(reads='frames')(plain)
    assert dict(vars(plain)) == before
    assert streamed.__name__ == 'plain'
    with threads(configuration(tmp_path, frames={})):
        assert plain('f', 2).result() == ('f', 2)


# What the app gets.


@in_both
def test_pipeline(tmp_path: Path, architecture: str) -> None:
    config = configuration(tmp_path, frames={}, peaks={'from': 'hpc', 'to': 'submit'})
    with threads(config, architecture=architecture) as session:
        done = [count(500), double(), double()]
        with parsl_streaming.reader('peaks') as peaks:
            got = sorted(peak.value for peak in peaks)
        assert [each.result(PATIENCE) for each in done] == [None, None, None]
        assert got == [2 * i for i in range(500)]
        assert session.statistics('frames').sent == 500
        assert session.outcomes['frames'].architecture == architecture


def test_arguments_around_the_channels(tmp_path: Path) -> None:
    @streaming(writes='frames')
    @python_app
    def app(
        first: int, frames: Any, second: int = 2, *rest: int, named: int = 4, **others: int
    ) -> Any:
        assert frames.channel.name == 'frames'
        return first, second, rest, named, others

    with threads(configuration(tmp_path, frames={})):
        calls = [
            app(1),
            app(1, 3),
            app(1, 3, 5, 6),
            app(1, named=7, other=8),
            app(second=9, first=0),
        ]
        parsl_streaming.reader('frames').close()
        assert [call.result(PATIENCE) for call in calls] == [
            (1, 2, (), 4, {}),
            (1, 3, (), 4, {}),
            (1, 3, (5, 6), 4, {}),
            (1, 2, (), 7, {'other': 8}),
            (0, 9, (), 4, {}),
        ]


def test_wrong_arguments_fail_the_task_and_the_stream(tmp_path: Path) -> None:
    with threads(configuration(tmp_path, frames={})):
        task, readers = count(), collect()
        with pytest.raises(TypeError, match="'n'"):
            task.result(PATIENCE)
        with pytest.raises(ChannelAborted, match=r"TypeError.*'n'"):
            readers.result(PATIENCE)


def test_bash_app_gets_a_pipe_per_channel(tmp_path: Path) -> None:
    @streaming(reads='frames', writes='peaks')
    @bash_app
    def upper(suffix: str, frames: Any, peaks: Any) -> str:
        return f'sed s/$/{suffix}/ < {frames} | tr a-z A-Z > {peaks}'

    config = configuration(tmp_path, frames={}, peaks={'from': 'hpc', 'to': 'submit'})
    with threads(config):
        task = upper('-x')
        with parsl_streaming.writer('frames') as frames:
            for word in (b'one', b'two'):
                frames.send(word)
        with parsl_streaming.reader('peaks') as peaks:
            assert [peak.value for peak in peaks] == [b'ONE-X', b'TWO-X']
        assert task.result(PATIENCE) == 0


def test_join_app_passes_its_channels_on(tmp_path: Path) -> None:
    @streaming(writes='frames')
    @join_app
    def fan_out(frames: Any, n: int) -> Any:
        return [count(n, frames=frames) for _ in range(2)]

    @streaming(reads='images')
    @join_app
    def renamed(images: Any) -> Any:
        return collect(frames=images)

    config = configuration(tmp_path, frames={'writers': 2}, images={})
    with threads(config):
        both, got = fan_out(3), collect()
        assert both.result(PATIENCE) == [None, None]
        assert sorted(got.result(PATIENCE)) == [0, 0, 1, 1, 2, 2]
        images = renamed()
        with parsl_streaming.writer('images') as writer:
            writer.send('image')
        assert images.result(PATIENCE) == ['image']


def test_groups_each_get_everything(tmp_path: Path) -> None:
    @streaming(reads='frames', group='viewers')
    @python_app
    def view(frames: Any) -> list[Any]:
        return [message.value for message in frames]

    with threads(configuration(tmp_path, frames={})):
        tasks = [view(), collect()]
        count(5).result(PATIENCE)
        assert [task.result(PATIENCE) for task in tasks] == [[0, 1, 2, 3, 4]] * 2


def test_a_task_waits_for_its_other_dependencies(tmp_path: Path) -> None:
    @python_app
    def seven() -> int:
        return 7

    with threads(configuration(tmp_path, frames={})):
        got = collect()
        count(seven()).result(PATIENCE)
        assert len(got.result(PATIENCE)) == 7


# What goes wrong in a task.


@in_both
def test_failed_writer_aborts_the_readers(tmp_path: Path, architecture: str) -> None:
    @streaming(writes='frames')
    @python_app
    def fail(frames: Any) -> None:
        frames.send('before')
        msg = 'the detector is cold'
        raise ValueError(msg)

    with threads(configuration(tmp_path, frames={}), architecture=architecture):
        task = fail()
        with parsl_streaming.reader('frames') as reader:
            assert reader.receive(PATIENCE).value == 'before'
            with pytest.raises(ChannelAborted, match='ValueError: the detector is cold'):
                reader.receive(PATIENCE)
        with pytest.raises(ValueError, match='the detector is cold'):
            task.result(PATIENCE)


@in_both
def test_retried_writer_completes_the_stream(tmp_path: Path, architecture: str) -> None:
    attempts: list[int] = []

    @streaming(writes='frames')
    @python_app
    def unreliable(frames: Any) -> None:
        attempts.append(1)
        for i in range(3):
            frames.send([len(attempts), i])
            if len(attempts) == 1:
                frames.flush()
                msg = 'once'
                raise OSError(msg)

    with threads(configuration(tmp_path, frames={}), architecture=architecture, retries=1):
        got = collect()
        assert unreliable().result(PATIENCE) is None
        assert got.result(PATIENCE) == [[1, 0], [2, 0], [2, 1], [2, 2]]


@in_both
def test_retried_reader_gets_what_it_had_not_dealt_with(tmp_path: Path, architecture: str) -> None:
    seen: list[Any] = []
    failed: list[Any] = []

    @streaming(reads='frames')
    @python_app
    def unreliable(frames: Any) -> None:
        for message in frames:
            if message.value == 5 and not failed:
                failed.append(message.value)
                msg = 'once'
                raise OSError(msg)
            seen.append(message.value)

    with threads(configuration(tmp_path, frames={}), architecture=architecture, retries=1):
        task = unreliable()
        count(20).result(PATIENCE)
        assert task.result(PATIENCE) is None
        assert seen == list(range(20))


def test_failed_writer_in_a_session_without_readers_ends(tmp_path: Path) -> None:
    @streaming(writes='frames')
    @python_app
    def fail(frames: Any) -> None:
        raise KeyError(frames.channel.name)

    with (
        threads(configuration(tmp_path, frames={'lease': 0.2})),
        pytest.raises(KeyError, match='frames'),
    ):
        fail().result(PATIENCE)


class _Unprovisioned(MemoryStreaming):
    def provision(self, *args: Any) -> Any:
        msg = 'no broker here: start one'
        raise BrokerUnavailable(msg)


def test_failed_provisioning_is_a_failed_dependency(tmp_path: Path) -> None:
    register('broken', _Unprovisioned)
    try:
        with threads(configuration(tmp_path, frames={}), architecture='broken'):
            task = collect()
            with pytest.raises(DependencyError) as caught:
                task.result(PATIENCE)
    finally:
        unregister('broken')
    assert isinstance(caught.value.__cause__, NoRoute)
    assert 'broken: no broker here: start one' in str(caught.value.__cause__)


def test_another_version_on_the_worker_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with threads(configuration(tmp_path, frames={})) as session:
        session.route('frames').result(PATIENCE)
        monkeypatch.setattr(version, 'VERSION', '99.0')
        with pytest.raises(VersionMismatch, match='install the same version'):
            collect().result(PATIENCE)


# Operators.


def test_map_over_single_messages(tmp_path: Path) -> None:
    @streaming.map(reads='frames', writes='peaks', workers=3)
    @python_app
    def odd(frames: Any, offset: int) -> int | None:
        return frames.value + offset if frames.value % 2 else None

    config = configuration(tmp_path, frames={}, peaks={'from': 'hpc', 'to': 'submit'})
    with threads(config):
        tasks = odd(100)
        count(50)
        with parsl_streaming.reader('peaks') as peaks:
            got = sorted(peak.value for peak in peaks)
        assert got == [100 + i for i in range(1, 50, 2)]
        assert len(tasks) == 3
        assert sum(task.result(PATIENCE) for task in tasks) == 50


def test_map_over_lists(tmp_path: Path) -> None:
    @streaming.map(reads='frames', writes=['peaks'], batch=8)
    @python_app
    def summed(frames: Any) -> list[int]:
        return [message.value for message in frames]

    config = configuration(tmp_path, frames={}, peaks={'from': 'hpc', 'to': 'submit'})
    with threads(config):
        [task] = summed()
        count(50)
        with parsl_streaming.reader('peaks') as peaks:
            got = [peak.value for peak in peaks]
        assert [i for part in got for i in part] == list(range(50))
        assert max(map(len, got)) <= 8
        assert task.result(PATIENCE) == 50


@in_both
@pytest.mark.parametrize('batch', [None, 4])
def test_map_buries_what_the_operator_cannot_do(
    tmp_path: Path, architecture: str, batch: int | None
) -> None:
    tries: list[int] = []

    @streaming.map(reads='frames', batch=batch)
    @python_app
    def fail(frames: Any) -> None:
        for message in frames if batch else [frames]:
            if message.value == 3:
                tries.append(message.deliveries)
                msg = 'three is too many'
                raise ValueError(msg)

    config = configuration(tmp_path, frames={'max_deliveries': 3})
    with threads(config, architecture=architecture) as session:
        [task] = fail()
        with parsl_streaming.writer('frames') as frames:
            for i in range(6):
                frames.send(i)
                frames.flush() if batch is None else None
        done = task.result(PATIENCE)
        letters = session.dead_letters('frames')
        assert tries == [1, 2, 3]
        assert done == 6 - len(letters)
        assert 3 in [letter.value for letter in letters]
        assert {letter.reason for letter in letters} == {'ValueError: three is too many'}
        assert session.statistics('frames').dead_letters == len(letters)
