"""Finding and running workflows: folders with `workflow.py` and `streaming.toml`."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Final

import parsl_streaming
from parsl_streaming.errors import UsageError

DEMO: Final = Path('source_finding')


def _included() -> list[Path]:
    """Where the included workflows are: in the wheel, or in the source tree."""
    package = Path(parsl_streaming.__file__).parent
    return [package / '_workflows', package.parent / 'workflows']


def find_workflow(workflow: Path) -> Path:
    """The folder of a workflow.

    Args:
        workflow: Its path, or the name of an included one.

    Raises:
        UsageError: There is none.
    """
    places = [
        workflow,
        *(folder / workflow for folder in _included() if not workflow.is_absolute()),
    ]
    for place in places:
        if (place / 'workflow.py').is_file():
            return place.absolute()
    included = sorted(
        found.parent.name for folder in _included() for found in folder.glob('*/workflow.py')
    )
    msg = (
        f'{workflow} is no workflow: give a folder with workflow.py and streaming.toml, or one of '
        f'the included: {", ".join(included)}'
    )
    raise UsageError(msg)


def run_workflow(
    folder: Path, arguments: list[str], config: Path | None, architecture: str | None
) -> int:
    """Run a workflow's `main`.

    Args:
        folder: Its folder.
        arguments: Its own command line.
        config: Configuration to use instead of its `streaming.toml`.
        architecture: Pins the architecture of every channel.

    Returns:
        Its exit status.

    Raises:
        UsageError: Something that it needs is not installed.
    """
    # Its apps are imported by the workers too, which inherit the environment.
    parent = str(folder.parent)
    sys.path.insert(0, parent)
    before = os.environ.get('PYTHONPATH')
    os.environ['PYTHONPATH'] = parent + (os.pathsep + before if before else '')
    try:
        module = importlib.import_module(f'{folder.name}.workflow')
    except ModuleNotFoundError as error:
        msg = f'workflow {folder.name}: {error}; {_remedy(folder)}'
        raise UsageError(msg) from error
    status: int = module.main(
        arguments, config=config or folder / 'streaming.toml', architecture=architecture
    )
    return status


def _remedy(folder: Path) -> str:
    if folder.resolve().parent in [place.resolve() for place in _included()]:
        return 'the included workflows need pip install "parsl-streaming[demo]"'
    return (
        f'install it where the workflow and its workers run, or, if it is meant to be a module of '
        f'this folder, import it as {folder.name}.MODULE or relatively'
    )
