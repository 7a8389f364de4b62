"""The results: collected, compared with a run without streaming, written as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from typing import TypedDict

import pyarrow as pa
from pyarrow import parquet

from .sources import Source
from .sources import find
from .tiles import tiles

SCHEMA: Final = pa.schema(
    [
        ('image', pa.string()),
        ('tile', pa.int32()),
        ('y', pa.float64()),
        ('x', pa.float64()),
        ('flux', pa.float64()),
        ('peak', pa.float64()),
        ('significance', pa.float64()),
        ('pixels', pa.int32()),
    ]
)
"""The columns of the table: where a source is, and the fields of `Source`."""


class Result(TypedDict):
    """What one tile gave."""

    tile: int
    image: str
    found: list[Source]


def collect(values: Iterable[Result], advance: Callable[[], None]) -> list[Result]:
    """Take results as they come.

    Args:
        values: What the channel `sources` carries, in any order.
        advance: Called once per result.
    """
    collected = []
    for value in values:
        collected.append(value)
        advance()
    return collected


def unstreamed(path: str | None, tile: int, threshold: float) -> list[Result]:
    """The same computation in this process: same tiles, same function, no streams.

    Args:
        path: The images; `None` for the included ones.
        tile: Side of a tile's core in pixels.
        threshold: Least significance of a source, in standard deviations.
    """
    return [
        Result(tile=piece.number, image=piece.image, found=find(piece, threshold))
        for piece in tiles(path, tile)
    ]


def differences(streamed: Iterable[Result], expected: Iterable[Result]) -> list[str]:
    """What differs, one sentence each; results may have come in any order.

    Args:
        streamed: What came through the channels.
        expected: What should have come: each tile once.
    """
    streamed = list(streamed)
    wanted = {result['tile']: result for result in expected}
    times = Counter(result['tile'] for result in streamed)
    lost = [tile for tile in wanted if tile not in times]
    twice = [tile for tile, count in times.items() if count > 1]
    strange = [tile for tile in times if tile not in wanted]
    changed = [
        result['tile']
        for result in streamed
        if result['tile'] in wanted and result != wanted[result['tile']]
    ]
    named = {
        'never came': lost,
        'came more than once': twice,
        'were not asked for': strange,
        'have other sources': changed,
    }
    return [
        f'{len(numbers)} tiles {what}: {_some(numbers)}'
        for what, numbers in named.items()
        if numbers
    ]


def _some(numbers: list[int], most: int = 10) -> str:
    shown = ', '.join(map(str, sorted(numbers)[:most]))
    return shown + (', ...' if len(numbers) > most else '')


def table(results: Iterable[Result]) -> pa.Table:
    """All sources as one table, ordered by tile; the order of arrival does not matter."""
    rows = [
        {'image': result['image'], 'tile': result['tile'], **source}
        for result in sorted(results, key=lambda result: result['tile'])
        for source in result['found']
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


def write(sources: pa.Table, file: Path) -> None:
    """Write the table as Parquet."""
    parquet.write_table(sources, file)
