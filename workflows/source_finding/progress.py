"""Progress on the screen."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn
from rich.progress import MofNCompleteColumn
from rich.progress import Progress
from rich.progress import TextColumn
from rich.progress import TimeElapsedColumn

PLAIN_LINES: Final = 5
"""Lines of progress when the output is no terminal."""


@contextmanager
def progress(total: int, console: Console) -> Iterator[Callable[[], None]]:
    """Show how many tiles are done: a bar on a terminal, else a few lines.

    Args:
        total: How many there are.
        console: Where to show it.

    Yields:
        To be called once per tile.
    """
    if not console.is_terminal:
        yield _lines(total, console)
        return
    columns = (TextColumn('tiles'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as shown:
        task = shown.add_task('tiles', total=total)
        yield lambda: shown.advance(task)


def _lines(total: int, console: Console) -> Callable[[], None]:
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if done * PLAIN_LINES // total > (done - 1) * PLAIN_LINES // total:
            console.print(f'{done} of {total} tiles', highlight=False)

    return advance
