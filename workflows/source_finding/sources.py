"""Source finding: what stands out of the background of a tile.

The method is the usual one of astronomy: subtract a smooth background, smooth
by about the size of a point, keep what exceeds the noise, and measure every
connected group of pixels. Everything is deterministic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

if TYPE_CHECKING:
    from .tiles import Tile

Pixels = NDArray[np.floating[Any]]

MESH = 32
"""Side of the cells, in pixels, in which the background is estimated."""
SMOOTHING = 1.0
"""Standard deviation of the Gaussian, in pixels, before the threshold."""
SMALLEST = 10
"""A source has at least this many pixels."""
MAD_TO_SIGMA = 1.4826
"""From the median absolute deviation to the standard deviation of a Gaussian."""


class Source(TypedDict):
    """One source; plain numbers, so that it travels as msgpack.

    Positions are pixels of the whole image, fluxes are in its unit.
    """

    y: float
    """Row of the flux-weighted centre."""
    x: float
    """Column of the flux-weighted centre."""
    flux: float
    """Sum over the source's pixels, background subtracted."""
    peak: float
    """Its brightest smoothed pixel, background subtracted."""
    significance: float
    """`peak` in units of the noise."""
    pixels: int
    """Its size."""


def background(pixels: Pixels) -> Pixels:
    """The smooth background: medians of cells of `MESH` pixels, interpolated.

    Args:
        pixels: A two-dimensional image.

    Returns:
        An image of the same shape.
    """
    rows, columns = (np.arange(size) for size in pixels.shape)
    across = -(-len(columns) // MESH)
    cells = (rows // MESH)[:, None] * across + columns // MESH
    medians = ndimage.median(pixels, cells, np.arange(cells[-1, -1] + 1)).reshape(-1, across)
    smooth = ndimage.median_filter(medians, 3, mode='nearest')
    at = np.meshgrid((rows + 0.5) / MESH - 0.5, (columns + 0.5) / MESH - 0.5, indexing='ij')
    return np.asarray(ndimage.map_coordinates(smooth, at, order=1, mode='nearest'))


def noise(residual: Pixels) -> float:
    """The standard deviation of the noise, which few bright pixels do not raise.

    Args:
        residual: An image with its background subtracted.
    """
    deviation = MAD_TO_SIGMA * float(np.median(np.abs(residual)))
    # An image without noise, such as a simulated one, has no deviation in its median.
    return deviation or float(residual.std())


def find(tile: Tile, threshold: float) -> list[Source]:
    """The sources that a tile owns, ordered by row and column.

    A source belongs to the tile whose core holds its brightest pixel: tiles
    overlap, so two of them may see it, but only one reports it.

    Args:
        tile: A tile of an image.
        threshold: Least significance, in standard deviations of the noise.
    """
    pixels = np.asarray(tile.pixels, np.float64)
    finite = np.isfinite(pixels)
    if not finite.any():
        return []
    pixels = np.where(finite, pixels, np.median(pixels[finite]))
    residual = pixels - background(pixels)
    smooth = ndimage.gaussian_filter(residual, SMOOTHING, mode='nearest')
    sigma = noise(smooth)
    labels, count = ndimage.label(smooth > threshold * sigma, np.ones((3, 3)))
    if not count:
        return []
    return _measure(tile, residual, smooth / sigma, labels, sigma)


def _measure(
    tile: Tile, residual: Pixels, ratio: Pixels, labels: NDArray[np.int32], sigma: float
) -> list[Source]:
    index = np.arange(1, labels.max() + 1)
    sizes = np.bincount(labels.ravel())[1:]
    summits = np.array(ndimage.maximum_position(ratio, labels, index))
    kept = (sizes >= SMALLEST) & tile.owns(summits[:, 0], summits[:, 1])
    index, sizes, summits = index[kept], sizes[kept], summits[kept]
    # Weights must be positive, or the centre could lie outside the source.
    centres = ndimage.center_of_mass(np.maximum(ratio, 0), labels, index)
    fluxes = ndimage.sum_labels(residual, labels, index)
    found = [
        Source(
            y=float(y + tile.top),
            x=float(x + tile.left),
            flux=float(flux),
            peak=float(ratio[*summit] * sigma),
            significance=float(ratio[*summit]),
            pixels=int(size),
        )
        for (y, x), flux, summit, size in zip(centres, fluxes, summits, sizes, strict=True)
    ]
    return sorted(found, key=lambda source: (source['y'], source['x']))
