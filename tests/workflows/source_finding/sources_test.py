"""Finding sources that are known."""

from __future__ import annotations

import msgpack
import numpy as np
import pytest
from numpy.typing import NDArray

from source_finding.sources import Source
from source_finding.sources import background
from source_finding.sources import find
from source_finding.sources import noise
from source_finding.tiles import cores
from source_finding.tiles import cut

SHAPE = (256, 300)
PLACES = [(30, 40), (64.4, 128), (127.5, 128.2), (128, 200), (200, 63.6), (240, 280), (8, 150)]
WIDTH = 2.0
FLUX = 4000.0
NOISE = 1.0


@pytest.fixture(scope='module')
def image() -> NDArray[np.float64]:
    """Gaussian sources on a sloping sky with noise."""
    rows, columns = np.indices(SHAPE)
    sky = 50 + 0.05 * rows + 0.02 * columns
    for y, x in PLACES:
        distance = (rows - y) ** 2 + (columns - x) ** 2
        sky += FLUX / (2 * np.pi * WIDTH**2) * np.exp(-distance / (2 * WIDTH**2))
    return sky + np.random.default_rng(1).normal(0, NOISE, SHAPE)


def found_in(image: NDArray[np.float64], size: int, threshold: float = 6.0) -> list[Source]:
    return [
        source
        for number, core in enumerate(cores((image.shape[0], image.shape[1]), size))
        for source in find(cut(number, 'image', image, core), threshold)
    ]


@pytest.mark.parametrize('size', [32, 64, 128, 512])
def test_each_source_is_found_once_wherever_the_tiles_end(
    image: NDArray[np.float64], size: int
) -> None:
    found = sorted((source['y'], source['x']) for source in found_in(image, size))
    assert np.allclose(found, sorted(PLACES), atol=0.3)


def test_measures(image: NDArray[np.float64]) -> None:
    for source in found_in(image, 128):
        assert source['flux'] == pytest.approx(FLUX, rel=0.1)
        # The Gaussian before the threshold widens a source from 2 to sqrt(5) pixels.
        assert source['peak'] == pytest.approx(FLUX / (2 * np.pi * (WIDTH**2 + 1)), rel=0.1)
        assert source['significance'] > 100
        assert 30 < source['pixels'] < 200


def test_threshold_leaves_out_the_faint(image: NDArray[np.float64]) -> None:
    assert found_in(image, 128, threshold=1e4) == []


def test_same_pixels_give_the_same_sources(image: NDArray[np.float64]) -> None:
    read_only = image.copy()
    read_only.flags.writeable = False
    assert found_in(image, 64) == found_in(read_only, 64)


def test_sources_travel_as_msgpack_unchanged(image: NDArray[np.float64]) -> None:
    found = found_in(image, 128)
    assert msgpack.unpackb(msgpack.packb(found)) == found


@pytest.mark.parametrize('level', [0.0, 7.0, np.nan])
def test_nothing_in_an_image_without_contrast(level: float) -> None:
    assert found_in(np.full((64, 64), level), 64) == []


def test_source_without_noise_around_it() -> None:
    pixels = np.zeros((64, 64))
    pixels[30:35, 20:25] = 9
    [source] = found_in(pixels, 64)
    assert (source['y'], source['x']) == pytest.approx((32, 22))


def test_dead_pixels_hide_no_source(image: NDArray[np.float64]) -> None:
    damaged = image.copy()
    damaged[::50, ::7] = np.nan
    assert len(found_in(damaged, 128)) == len(PLACES)


def test_background_follows_a_slope() -> None:
    rows, columns = np.indices((200, 170))
    slope = 3.0 * rows - columns
    inner = (slice(72, 136), slice(72, 104))
    assert np.allclose(background(slope)[inner], slope[inner], atol=4)


def test_few_bright_pixels_do_not_raise_the_noise() -> None:
    pixels = np.random.default_rng(2).normal(0, 3, (100, 100))
    pixels[:5, :5] = 1e6
    assert noise(pixels) == pytest.approx(3, rel=0.05)
