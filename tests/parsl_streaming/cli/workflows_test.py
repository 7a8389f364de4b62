from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

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


def test_a_missing_module_says_what_to_install(workflow: Path) -> None:
    (workflow / 'workflow.py').write_text('import a_module_that_is_not_there')
    with pytest.raises(UsageError, match=r'a_module_that_is_not_there.*\[demo\]'):
        run_workflow(workflow, [], None, None)
