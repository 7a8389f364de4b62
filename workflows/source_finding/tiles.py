"""Tiles: an image in pieces that overlap.

Every pixel lies in the core of exactly one tile; around its core a tile has a
margin, so that a source at the border is seen whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from typing import Final

import numpy as np
from numpy.typing import NDArray

from . import inputs

MARGIN: Final = 32
"""Pixels around the core; more than the radius of most sources."""


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A piece of an image.

    Attributes:
        number: 0, 1, 2... over all images of the input.
        image: Name of the image.
        top: Row of the image at which the tile's first row lies.
        left: Column of the image at which the tile's first column lies.
        core: First row, end row, first column, end column of the core, in the image.
        pixels: The pixels of core and margin.
    """

    number: int
    image: str
    top: int
    left: int
    core: tuple[int, int, int, int]
    pixels: NDArray[Any]

    @property
    def headers(self) -> dict[str, Any]:
        """Everything but the pixels, to travel beside them."""
        return {
            'number': self.number,
            'image': self.image,
            'top': self.top,
            'left': self.left,
            'core': list(self.core),
        }

    def owns(self, rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[np.bool_]:
        """Which pixels of the tile lie in its core.

        Args:
            rows: Rows, counted in the tile.
            columns: Columns, counted in the tile.
        """
        first_row, end_row, first_column, end_column = self.core
        y, x = rows + self.top, columns + self.left
        owned = (first_row <= y) & (y < end_row) & (first_column <= x) & (x < end_column)
        return np.asarray(owned, np.bool_)


def tiles(path: str | None, size: int) -> Iterator[Tile]:
    """Cut every image of an input into tiles, reading one image at a time.

    Args:
        path: As `inputs.images` takes it.
        size: Side of a core in pixels.

    Raises:
        ConfigError: The input cannot be read.
    """
    number = 0
    for image in inputs.images(path):
        pixels = image.pixels()
        for core in cores(image.shape, size):
            yield cut(number, image.name, pixels, core)
            number += 1


def count(path: str | None, size: int) -> int:
    """How many tiles `tiles` gives, without reading more pixels than it must."""
    return sum(len(cores(image.shape, size)) for image in inputs.images(path))


def cores(shape: tuple[int, int], size: int) -> list[tuple[int, int, int, int]]:
    """The cores of an image's tiles: they cover it, and no two overlap."""
    rows, columns = shape
    return [
        (top, min(top + size, rows), left, min(left + size, columns))
        for top in range(0, rows, size)
        for left in range(0, columns, size)
    ]


def cut(number: int, image: str, pixels: NDArray[Any], core: tuple[int, int, int, int]) -> Tile:
    """The tile of a core: the core and what lies within `MARGIN` of it."""
    top, left = max(core[0] - MARGIN, 0), max(core[2] - MARGIN, 0)
    piece = pixels[top : core[1] + MARGIN, left : core[3] + MARGIN]
    return Tile(number, image, top, left, core, np.ascontiguousarray(piece))
