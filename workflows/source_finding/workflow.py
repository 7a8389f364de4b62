"""The workflow: the apps on two Parsl sites, their results collected, checked and shown.

`parsl-streaming run workflows/source_finding` calls `main`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
import parsl
from parsl.config import Config
from parsl.providers import LocalProvider
from rich.console import Console

import parsl_streaming
from parsl_streaming.cli.report import print_report
from parsl_streaming.executors import StreamingExecutor

from . import apps
from . import tiles
from .progress import progress
from .results import Result
from .results import collect
from .verdict import Options
from .verdict import finish

LOOPBACK: Final = '127.0.0.1'


def main(arguments: list[str], *, config: Path, architecture: str | None) -> int:
    """Run the workflow.

    Args:
        arguments: The command line after the workflow's name.
        config: The `streaming.toml`.
        architecture: Pins the architecture of every channel; `None` lets the policy choose.

    Returns:
        The exit status: 0, or 1 if the streamed result differs from the unstreamed one.

    Raises:
        ClickException: The command line is wrong.
        StreamingError: The input cannot be read, or a channel cannot do its work.
    """
    status: int = command.main(
        arguments, _program(), standalone_mode=False, obj=(config, architecture)
    )
    return status


def _program() -> str:
    """What the user typed to get here, for the usage line: a folder's name if nothing is known."""
    context = click.get_current_context(silent=True)
    if context is None:
        return Path(__file__).parent.name
    return f'{context.command_path} {context.params.get("workflow", "")}'.strip()


@click.command(
    help='Find the sources in images while these stream from one site to another.',
    context_settings={'help_option_names': ['-h', '--help']},
)
@click.option(
    '--input',
    'path',
    metavar='PATH',
    help='HDF5 stack (FILE or FILE::DATASET), .npy, TIFF stack, picture, or a folder of these; '
    'default: images that come with scikit-image.',
)
@click.option(
    '--output',
    type=click.Path(file_okay=False, path_type=Path),
    default='source-finding-output',
    show_default=True,
    help='Folder for the table, the picture and the logs.',
)
@click.option(
    '--tile', type=click.IntRange(16, 8192), default=128, show_default=True, help='Pixels.'
)
@click.option(
    '--threshold',
    type=click.FloatRange(0, min_open=True),
    default=4.0,
    show_default=True,
    help='Least significance of a source, in standard deviations of the noise.',
)
@click.option(
    '--workers', type=click.IntRange(1, 64), default=2, show_default=True, help='At site hpc.'
)
@click.pass_obj
def command(
    given: tuple[Path, str | None],
    path: str | None,
    output: Path,
    tile: int,
    threshold: float,
    workers: int,
) -> int:
    """Parse the command line and do what it says."""
    config, architecture = given
    # Workers have a working directory of their own.
    path = str(Path(path).expanduser().absolute()) if path else None
    output = output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    options = Options(path=path, output=output, tile=tile, threshold=threshold, workers=workers)
    console = Console()
    streamed = stream(options, config, architecture, console)
    return finish(options, streamed, console)


def stream(
    options: Options, config: Path, architecture: str | None, console: Console
) -> list[Result]:
    """Run the apps and collect what they stream back.

    Args:
        options: What the command line gave.
        config: The `streaming.toml`.
        architecture: Pins the architecture of every channel.
        console: Where to show progress and the summary.
    """
    # Also the check of the input, as `load` is of the configuration: before any site is started.
    total = tiles.count(options.path, options.tile)
    with parsl_streaming.load(config, architecture=architecture) as session:
        console.print(f'Tiles to stream: {total}; starting two Parsl sites ...')
        with parsl.load(sites(options)):
            # Consumers first: a producer that finds nobody waits for them.
            tasks = [apps.find_sources(threshold=options.threshold) for _ in range(options.workers)]
            tasks.append(apps.acquire(path=options.path, tile=options.tile))
            with parsl_streaming.reader('sources') as incoming, progress(total, console) as advance:
                streamed = collect((message.value for message in incoming), advance)
            for task in tasks:
                task.result()  # raises what the app raised
            print_report(session)
    return streamed


def sites(options: Options) -> Config:
    """Two sites on this machine, as Parsl knows them; their labels are the sites' names."""
    return Config(
        executors=[_site('instrument', 1), _site('hpc', options.workers)],
        strategy='none',  # as many blocks as there are at the start: nothing to scale
        strategy_period=0.2,  # the first block starts one period after Parsl does
        run_dir=str(options.output / 'runinfo'),
    )


def _site(label: str, workers: int) -> StreamingExecutor:
    return StreamingExecutor(
        label=label,
        address=LOOPBACK,  # without it, Parsl asks a server on the internet for this machine's
        max_workers_per_node=workers,
        # A streaming app holds its worker while it waits, so cores must not limit their number.
        cores_per_worker=0.01,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
