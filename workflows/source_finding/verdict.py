"""The end of a run: what is written, and whether the result is right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from . import figure
from . import results
from .results import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line gave.

    Attributes:
        path: The images; `None` for the included ones.
        output: Folder for everything that is written.
        tile: Side of a tile's core in pixels.
        threshold: Least significance of a source, in standard deviations.
        workers: Workers at the site `hpc`.
    """

    path: str | None
    output: Path
    tile: int
    threshold: float
    workers: int


def finish(options: Options, streamed: list[Result], console: Console) -> int:
    """Write table and picture, and compare with the computation without streaming.

    Args:
        options: What the command line gave.
        streamed: The results of all tiles.
        console: Where to say how it went.

    Returns:
        The exit status: 1 if anything differs.
    """
    sources = results.table(streamed)
    results.write(sources, options.output / 'sources.parquet')
    figure.draw(options.path, sources, options.output / 'sources.png')
    for name in ('sources.parquet', 'sources.png'):
        console.print(f'wrote {options.output / name}', soft_wrap=True, highlight=False)
    expected = results.unstreamed(options.path, options.tile, options.threshold)
    wrong = results.differences(streamed, expected)
    if wrong:
        console.print('[bold red]The streamed result differs from the one without streaming:[/]')
        for sentence in wrong:
            console.print(f'  {sentence}', soft_wrap=True)
        return 1
    console.print(
        f'[bold green]Identical[/] to the same computation without streaming: '
        f'tiles: {len(streamed)}, sources: {sources.num_rows}.'
    )
    return 0
