from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parsl_streaming.cli import workflows
from parsl_streaming.cli.workflows import DEMO
from parsl_streaming.cli.workflows import find_workflow
from parsl_streaming.cli.workflows import run_workflow
from parsl_streaming.errors import UsageError

MAIN = """
def main(arguments, *, config, architecture):
    print(arguments, config.name, architecture)
    return len(arguments)
"""


@pytest.fixture
def workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.setenv('PYTHONPATH', '/elsewhere')
    folder = tmp_path / 'a_workflow_of_mine'
    folder.mkdir()
    (folder / 'workflow.py').write_text(MAIN)
    yield folder
    for name in [name for name in sys.modules if name.startswith(folder.name)]:
        del sys.modules[name]


def test_the_demo_is_an_included_workflow() -> None:
    found = find_workflow(DEMO)
    assert (found / 'streaming.toml').is_file()
    assert found.name == 'source_finding'


def test_a_workflow_is_found_by_path(workflow: Path) -> None:
    assert find_workflow(workflow) == workflow


def test_an_unknown_workflow_names_the_included_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r'no workflow.*source_finding'):
        find_workflow(tmp_path)


def test_a_workflow_gets_its_arguments_and_its_status_counts(
    workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_workflow(workflow, ['--a', 'b'], None, 'dts') == 2
    assert capsys.readouterr().out == "['--a', 'b'] streaming.toml dts\n"


def test_workers_can_import_the_workflow(workflow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_workflow(workflow, [], workflow / 'other.toml', None)
    import os

    assert os.environ['PYTHONPATH'].split(os.pathsep) == [str(workflow.parent), '/elsewhere']


def test_a_missing_module_of_a_workflow_is_named(workflow: Path) -> None:
    (workflow / 'workflow.py').write_text('import a_module_that_is_not_there')
    with pytest.raises(UsageError, match=r'a_module_that_is_not_there.*install it') as caught:
        run_workflow(workflow, [], None, None)
    assert '[demo]' not in str(caught.value)


def test_a_missing_module_of_an_included_workflow_says_what_to_install(
    workflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows, '_included', lambda: [workflow.parent])
    (workflow / 'workflow.py').write_text('import a_module_that_is_not_there')
    with pytest.raises(UsageError, match=r'a_module_that_is_not_there.*\[demo\]'):
        run_workflow(workflow, [], None, None)


def test_the_demo_can_be_copied_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(find_workflow(DEMO), tmp_path / 'a_copy_of_mine'))
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.setattr(sys, 'modules', dict(sys.modules))
    monkeypatch.setenv('PYTHONPATH', '')
    for name in [name for name in sys.modules if name.startswith(DEMO.name)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, DEMO.name, None)
    assert run_workflow(copy, ['--help'], None, None) == 0
    assert 'Usage: a_copy_of_mine [OPTIONS]' in capsys.readouterr().out
