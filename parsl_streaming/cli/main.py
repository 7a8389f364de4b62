"""The commands, and how errors become messages and exit statuses."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from parsl_streaming.architectures import missing
from parsl_streaming.architectures import names
from parsl_streaming.bench.command import bench
from parsl_streaming.cli.workflows import DEMO
from parsl_streaming.cli.workflows import find_workflow
from parsl_streaming.cli.workflows import run_workflow
from parsl_streaming.config import load_config
from parsl_streaming.errors import StreamingError
from parsl_streaming.explain import explain
from parsl_streaming.version import VERSION

_HELP = ('-h', '--help')
_PASS_ON = {'ignore_unknown_options': True, 'help_option_names': []}
_architecture = click.option('--architecture', metavar='NAME', help='Pin one for every channel.')
_rest = click.argument(
    'arguments', nargs=-1, type=click.UNPROCESSED, metavar='[OPTIONS OF THE WORKFLOW]'
)


@click.group(context_settings={'help_option_names': _HELP})
def cli() -> None:
    """Stream data between Parsl apps: from instruments to HPC."""


@cli.command(context_settings=_PASS_ON)
@_architecture
@_rest
def demo(architecture: str | None, arguments: tuple[str, ...]) -> int:
    """Stream real images between two Parsl sites and find the sources in them.

    It is the workflow `source_finding`, and takes its options too.
    """
    if not set(_HELP).isdisjoint(arguments):
        click.echo(click.get_current_context().get_help() + '\n\nThe options of its workflow:\n')
    return run_workflow(find_workflow(DEMO), list(arguments), None, architecture)


@cli.command(context_settings=_PASS_ON)
@click.argument('workflow', type=click.Path(path_type=Path))
@click.option('--config', type=click.Path(path_type=Path), help='Instead of its streaming.toml.')
@_architecture
@_rest
def run(
    workflow: Path, config: Path | None, architecture: str | None, arguments: tuple[str, ...]
) -> int:
    """Run a workflow: a folder with `workflow.py` and `streaming.toml`.

    WORKFLOW is its path, or the name of one that comes with parsl-streaming.
    Further options are the workflow's own: `run WORKFLOW --help` lists them.
    """
    if str(workflow) in _HELP:
        click.echo(click.get_current_context().get_help())
        return 0
    return run_workflow(find_workflow(workflow), list(arguments), config, architecture)


@cli.command('explain')
@click.argument('channel', required=False)
@click.option(
    '--config',
    type=click.Path(path_type=Path),
    default='streaming.toml',
    show_default=True,
    help='The configuration to explain.',
)
@click.option('--json', 'as_json', is_flag=True, help='For programs.')
def explain_command(channel: str | None, config: Path, *, as_json: bool) -> int:
    """Say which architecture each channel uses, and why."""
    explanation = explain(load_config(config), channel)
    click.echo(json.dumps(explanation.as_dict(), indent=2) if as_json else explanation.text())
    return 0 if explanation.routed else 1


@cli.command()
@click.option('--json', 'as_json', is_flag=True, help='For programs.')
def version(*, as_json: bool) -> int:
    """Show the version, and the architectures that can be used."""
    usable = {name: str(missing(name) or 'installed') for name in names()}
    if as_json:
        click.echo(json.dumps({'version': VERSION, 'architectures': usable}))
        return 0
    click.echo(f'parsl-streaming {VERSION}')
    for name, state in usable.items():
        click.echo(f'  {name}: {state}')
    return 0


cli.add_command(bench)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 used wrongly."""
    _find_own_programs()
    try:
        status = cli.main(arguments, prog_name='parsl-streaming', standalone_mode=False)
    except click.exceptions.Abort:
        click.echo('stopped', err=True)
        status = 130
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except StreamingError as error:
        click.echo(f'parsl-streaming: {error}', err=True)
        status = 1
    sys.exit(status)


def _find_own_programs() -> None:
    """Parsl finds its interchange and workers on PATH: put this environment's there."""
    own = str(Path(sys.executable).parent)
    path = os.environ.get('PATH', os.defpath)
    if own not in path.split(os.pathsep):
        os.environ['PATH'] = own + os.pathsep + path
