"""Reading every kind of input, and refusing what is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as Picture

from parsl_streaming.errors import ConfigError
from source_finding.inputs import images

STACK = np.arange(5 * 20 * 30, dtype=np.uint16).reshape(5, 20, 30)
COLOURED = np.dstack([np.full((20, 30), level, np.uint8) for level in (10, 200, 90)])
LUMINANCE = 0.2125 * 10 + 0.7154 * 200 + 0.0721 * 90


def read(path: Path | str) -> list[tuple[str, NDArray[np.float32]]]:
    return [(image.name, image.pixels()) for image in images(str(path))]


def assert_is_stack(path: Path | str) -> None:
    found = read(path)
    assert np.array_equal([pixels for _, pixels in found], STACK)
    assert len({name for name, _ in found}) == len(STACK)
    assert all(pixels.dtype == np.float32 for _, pixels in found)


def test_included_images_have_the_shapes_they_state() -> None:
    seen = {image.name: (image.shape, image.pixels().shape) for image in images(None)}
    assert list(seen) == ['hubble-deep-field', 'tissue-nuclei', 'moon-surface']
    assert all(stated == actual for stated, actual in seen.values())


def test_included_images_need_neither_network_nor_home(tmp_path: Path) -> None:
    program = (
        'import socket\n'
        'def refuse(*_): raise SystemExit("the network was used")\n'
        'socket.socket.connect = socket.getaddrinfo = refuse\n'
        'from source_finding.inputs import images\n'
        'print(sum(image.pixels().size for image in images(None)))\n'
    )
    environment = {'HOME': str(tmp_path), 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, '-c', program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 872 * 1000 + 2 * 512 * 512
    assert list(tmp_path.iterdir()) == []


def test_numpy_stack(tmp_path: Path) -> None:
    np.save(tmp_path / 'stack.npy', STACK)
    assert_is_stack(tmp_path / 'stack.npy')


def test_numpy_single_image(tmp_path: Path) -> None:
    np.save(tmp_path / 'one.npy', STACK[0])
    [(name, pixels)] = read(tmp_path / 'one.npy')
    assert name == 'one.npy'
    assert np.array_equal(pixels, STACK[0])


@pytest.mark.parametrize('compression', [None, 'zlib'])
def test_tiff_stack(tmp_path: Path, compression: str | None) -> None:
    file = tmp_path / 'stack.tiff'
    tifffile.imwrite(file, STACK, photometric='minisblack', compression=compression)
    assert_is_stack(file)


@pytest.mark.parametrize('planar', ['contig', 'separate'])
@pytest.mark.parametrize('compression', [None, 'zlib'])
def test_coloured_tiff_is_one_image(tmp_path: Path, planar: str, compression: str | None) -> None:
    file = tmp_path / 'coloured.tif'
    stored = COLOURED if planar == 'contig' else np.moveaxis(COLOURED, -1, 0)
    tifffile.imwrite(file, stored, photometric='rgb', planarconfig=planar, compression=compression)
    [(name, pixels)] = read(file)
    assert name == 'coloured.tif'
    assert pixels.shape == (20, 30)
    assert np.allclose(pixels, LUMINANCE)


def test_hdf5_takes_its_first_dataset_of_images(tmp_path: Path) -> None:
    with h5py.File(tmp_path / 'run.h5', 'w') as root:
        root['entry/angles'] = np.zeros(5)
        root['entry/data'] = STACK
        root['entry/title'] = 'a run'
    assert_is_stack(tmp_path / 'run.h5')
    assert_is_stack(f'{tmp_path / "run.h5"}::/entry/data')


def test_hdf5_dataset_by_name(tmp_path: Path) -> None:
    with h5py.File(tmp_path / 'run.h5', 'w') as root:
        root['a'] = np.ones((4, 4))
        root['b'] = STACK
    assert_is_stack(f'{tmp_path / "run.h5"}::b')


def test_unknown_hdf5_dataset_names_those_that_exist(tmp_path: Path) -> None:
    with h5py.File(tmp_path / 'run.h5', 'w') as root:
        root['entry/data'] = STACK
    with pytest.raises(ConfigError, match=r"no dataset 'detector' .*entry/data"):
        read(f'{tmp_path / "run.h5"}::detector')


def test_hdf5_without_images(tmp_path: Path) -> None:
    with h5py.File(tmp_path / 'run.h5', 'w') as root:
        root['angles'] = np.zeros(5)
    with pytest.raises(ConfigError, match=r'run\.h5: no dataset of images.*none'):
        read(tmp_path / 'run.h5')


def test_picture_becomes_luminance(tmp_path: Path) -> None:
    Picture.fromarray(COLOURED).save(tmp_path / 'a.png')
    [(name, pixels)] = read(tmp_path / 'a.png')
    assert name == 'a.png'
    assert np.allclose(pixels, LUMINANCE)


def test_indexed_picture_has_its_colours(tmp_path: Path) -> None:
    Picture.fromarray(COLOURED).quantize(4).save(tmp_path / 'a.png')
    [(_, pixels)] = read(tmp_path / 'a.png')
    assert np.allclose(pixels, LUMINANCE, atol=2)


def test_folder_in_the_order_of_names_and_without_other_files(tmp_path: Path) -> None:
    for level in (2, 0, 1):
        Picture.fromarray(np.full((8, 9), level, np.uint8)).save(tmp_path / f'{level}.png')
    (tmp_path / 'notes.txt').write_text('not an image')
    assert [name for name, _ in read(tmp_path)] == ['0.png', '1.png', '2.png']
    assert [pixels.max() for _, pixels in read(tmp_path)] == [0, 1, 2]


def test_images_are_not_read_before_they_are_asked_for(tmp_path: Path) -> None:
    np.save(tmp_path / '0.npy', STACK)
    (tmp_path / '1.npy').write_bytes(b'damaged')
    reading = images(str(tmp_path))
    assert [next(reading).pixels()[0, 0] for _ in STACK] == list(STACK[:, 0, 0])
    with pytest.raises(ConfigError, match=r'1\.npy: cannot be read'):
        next(reading)


def test_missing_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'nothing\.h5: no such file'):
        read(tmp_path / 'nothing.h5')


def test_unknown_type_names_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / 'a.fits').touch()
    with pytest.raises(ConfigError, match=r'\.fits is not known; .*\.h5.*\.tiff'):
        read(tmp_path / 'a.fits')


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='no image in this folder'):
        read(tmp_path)


def test_dataset_of_a_file_that_has_none(tmp_path: Path) -> None:
    np.save(tmp_path / 'a.npy', STACK)
    with pytest.raises(ConfigError, match='only an HDF5 file'):
        read(f'{tmp_path / "a.npy"}::data')


@pytest.mark.parametrize('name', ['a.npy', 'a.h5', 'a.tif', 'a.png'])
def test_damaged_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b'this is no image')
    with pytest.raises(ConfigError, match='cannot be read'):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ('stored', 'why'),
    [
        (np.zeros(7), 'dimensions'),
        (np.zeros((2, 2, 2, 2)), 'dimensions'),
        (np.array([['a', 'b']]), 'pixels are numbers'),
        (np.zeros((0, 20, 30)), 'no pixels'),
    ],
)
def test_array_that_is_no_image(tmp_path: Path, stored: NDArray[np.generic], why: str) -> None:
    np.save(tmp_path / 'a.npy', stored)
    with pytest.raises(ConfigError, match=why):
        read(tmp_path / 'a.npy')
