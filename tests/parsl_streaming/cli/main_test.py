from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from parsl_streaming.cli.main import main
from parsl_streaming.version import VERSION

TOML = """
[sites.beamline]
network = "lab"
[sites.hpc]
network = "lab"
[channels.frames]
from = "beamline"
to = "hpc"
"""


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / 'streaming.toml'
    path.write_text(TOML)
    return str(path)


def test_version_names_the_architectures(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run('version') == 0
    shown = capsys.readouterr().out
    assert VERSION in shown
    assert 'dts: installed' in shown


def test_version_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run('version', '--json') == 0
    assert json.loads(capsys.readouterr().out)['version'] == VERSION


def test_explain_says_which_architecture_and_why(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run('explain', '--config', config) == 0
    shown = capsys.readouterr().out
    assert 'frames' in shown
    assert 'dts' in shown


def test_explain_for_programs(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run('explain', 'frames', '--config', config, '--json') == 0
    assert 'frames' in json.dumps(json.loads(capsys.readouterr().out))


def test_a_mistake_in_the_configuration_is_a_sentence_not_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / 'streaming.toml'
    path.write_text(TOML.replace('to = "hpc"', 'to = "hcp"'))
    assert _run('explain', '--config', str(path)) == 1
    shown = capsys.readouterr().err
    assert 'channels.frames.to' in shown
    assert 'hpc' in shown
    assert 'Traceback' not in shown


def test_an_unknown_option_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run('version', '--no-such-option') == 2
    assert '--no-such-option' in capsys.readouterr().err


def test_an_unknown_workflow_exits_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run('run', str(tmp_path)) == 1
    assert 'no workflow' in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [['--help'], ['-h'], ['--config', 'x.toml', '--help']])
def test_help_of_run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert _run('run', *arguments) == 0
    shown = capsys.readouterr().out
    assert 'Usage: parsl-streaming run [OPTIONS] WORKFLOW' in shown
    assert '--architecture' in shown


@pytest.mark.parametrize('option', ['--help', '-h'])
def test_help_of_the_demo_is_that_of_its_workflow_too(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run('demo', option) == 0
    shown = capsys.readouterr().out
    assert '--architecture' in shown
    assert '--threshold' in shown
    assert shown.count('Usage: parsl-streaming demo') == shown.count('Usage:')


def test_help_of_a_workflow(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run('run', 'source_finding', '-h') == 0
    assert 'Usage: parsl-streaming run source_finding [OPTIONS]' in capsys.readouterr().out


def test_parsl_will_find_its_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PATH', '/usr/bin')
    _run('version')
    assert os.environ['PATH'].split(os.pathsep)[0] == str(Path(sys.executable).parent)
