"""Cutting images into tiles."""

from __future__ import annotations

from pathlib import Path

import msgpack
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from source_finding.tiles import MARGIN
from source_finding.tiles import Tile
from source_finding.tiles import cores
from source_finding.tiles import count
from source_finding.tiles import cut
from source_finding.tiles import tiles

SIDES = st.integers(1, 150)
SIZES = st.integers(16, 200)


@given(SIDES, SIDES, SIZES)
def test_every_pixel_is_owned_exactly_once(rows: int, columns: int, size: int) -> None:
    image = np.arange(rows * columns).reshape(rows, columns)
    owners = np.zeros(image.size, int)
    for number, core in enumerate(cores(image.shape, size)):
        tile = cut(number, 'image', image, core)
        owned = tile.owns(*np.indices(tile.pixels.shape))
        np.add.at(owners, tile.pixels[owned], 1)
    assert (owners == 1).all()


@given(SIDES, SIDES, SIZES)
def test_tile_has_its_margin_except_at_the_image_s_border(
    rows: int, columns: int, size: int
) -> None:
    image = np.zeros((rows, columns))
    for core in cores(image.shape, size):
        tile = cut(0, 'image', image, core)
        bottom, right = np.add((tile.top, tile.left), tile.pixels.shape)
        assert (tile.top, tile.left) == (max(core[0] - MARGIN, 0), max(core[2] - MARGIN, 0))
        assert (bottom, right) == (min(core[1] + MARGIN, rows), min(core[3] + MARGIN, columns))


def test_tiles_are_numbered_over_all_images_and_counted(tmp_path: Path) -> None:
    np.save(tmp_path / 'stack.npy', np.zeros((3, 50, 70)))
    found = list(tiles(str(tmp_path), 40))
    assert [tile.number for tile in found] == list(range(12))
    assert count(str(tmp_path), 40) == 12
    assert {tile.image for tile in found} == {f'stack.npy[{number}]' for number in range(3)}


def test_headers_and_pixels_rebuild_the_tile() -> None:
    tile = cut(7, 'image', np.arange(10000.0).reshape(100, 100), (40, 80, 0, 40))
    travelled = msgpack.unpackb(msgpack.packb(tile.headers))
    again = Tile(**travelled, pixels=tile.pixels)
    assert again.headers == tile.headers
    at = np.indices(tile.pixels.shape)
    assert np.array_equal(again.owns(*at), tile.owns(*at))


def test_pixels_are_contiguous_so_that_they_travel_without_a_copy() -> None:
    tile = cut(0, 'image', np.zeros((200, 200)), (64, 96, 64, 96))
    assert tile.pixels.flags.c_contiguous
