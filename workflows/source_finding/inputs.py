"""The images: where they come from. One at a time, never all in memory.

Without a path, real images that lie inside scikit-image's wheel; with one,
an HDF5 stack (`stack.h5` or `stack.h5::dataset`), a `.npy` file, a TIFF stack,
a picture, or a folder of these.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from typing import Final

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image as Picture

from parsl_streaming.errors import ConfigError

Array = NDArray[Any]

LUMINANCE: Final = np.array([0.2125, 0.7154, 0.0721], np.float32)
"""Weights of red, green and blue (ITU-R BT.709)."""
PLANE: Final = 2
"""Dimensions of an image without colours."""
COLOURS: Final = (3, 4)
"""A last axis of this length holds colours, and transparency."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image, read only when asked for.

    Attributes:
        name: Unique in its input.
        shape: Rows and columns.
        read: Reads the pixels, as they are stored; before the next image is asked for.
    """

    name: str
    shape: tuple[int, int]
    read: Callable[[], Array]

    def pixels(self) -> NDArray[np.float32]:
        """The image as one brightness per pixel."""
        stored = self.read()
        if stored.ndim == PLANE:
            return np.ascontiguousarray(stored, np.float32)
        return np.ascontiguousarray(stored[..., :3].astype(np.float32) @ LUMINANCE)


def images(path: str | None) -> Iterator[Image]:
    """The images of an input, in a fixed order.

    Args:
        path: A file or folder, `file.h5::dataset`, or `None` for the included images.

    Raises:
        ConfigError: There is nothing there that can be read; the message says
            what was found and what is expected.
    """
    if path is None:
        yield from _included()
        return
    name, _, dataset = path.partition('::')
    source = Path(name).expanduser()
    if not source.exists():
        raise _refused(name, 'no such file or folder; check the path')
    if source.is_dir():
        yield from _folder(source)
    elif dataset and source.suffix.lower() not in HDF5:
        raise _refused(path, f'only an HDF5 file ({_listed(HDF5)}) has datasets')
    elif source.suffix.lower() in READERS:
        yield from _file(source, dataset)
    else:
        kind = source.suffix or 'a file without suffix'
        raise _refused(name, f'{kind} is not known; give a folder or one of {_listed(READERS)}')


def _included() -> Iterator[Image]:
    # Importing scikit-image costs a while, which users' own images need not pay.
    from skimage import color
    from skimage import data

    deep_field = data.hubble_deep_field()
    yield Image('hubble-deep-field', deep_field.shape[:2], lambda: deep_field)
    tissue = data.immunohistochemistry()
    # Nuclei are what haematoxylin stains: separate its colour from the brown of the other stain.
    nuclei = 1000 * color.rgb2hed(tissue)[..., 0]
    yield Image('tissue-nuclei', nuclei.shape, lambda: nuclei)
    moon = data.moon()
    yield Image('moon-surface', moon.shape, lambda: moon)


def _folder(folder: Path) -> Iterator[Image]:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in READERS)
    if not files:
        raise _refused(folder, f'no image in this folder; it needs some of {_listed(READERS)}')
    for file in files:
        yield from _file(file)


def _file(file: Path, dataset: str = '') -> Iterator[Image]:
    try:
        yield from READERS[file.suffix.lower()](file, dataset)
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        raise _refused(file, f'cannot be read ({error}); is it damaged?') from error


def _numpy(file: Path, _: str) -> Iterator[Image]:
    yield from _stack(file.name, np.load(file, mmap_mode='r', allow_pickle=False))


def _picture(file: Path, _: str) -> Iterator[Image]:
    with Picture.open(file) as picture:
        columns, rows = picture.size
        indexed = picture.mode in ('P', 'PA')
        yield Image(
            file.name,
            (rows, columns),
            lambda: np.asarray(picture.convert('RGB') if indexed else picture),
        )


def _tiff(file: Path, _: str) -> Iterator[Image]:
    with tifffile.TiffFile(file) as tiff:
        series = tiff.series[0]
        planar = series.axes.startswith('S')  # colours come first: three planes, one image
        if series.dataoffset is not None and not planar:
            yield from _stack(file.name, tifffile.memmap(file, mode='r'))
            return
        pages = [page for page in series.pages if page is not None]
        for number, page in enumerate(pages):
            name = f'{file.name}[{number}]' if len(pages) > 1 else file.name
            if planar:
                yield _image(name, page.shape[1:], partial(_interleaved, page))
            else:
                yield _image(name, page.shape, page.asarray)


def _hdf5(file: Path, dataset: str) -> Iterator[Image]:
    with h5py.File(file) as root:
        usable: dict[str, h5py.Dataset] = {}

        def note(name: str, item: h5py.HLObject) -> None:
            if (
                isinstance(item, h5py.Dataset)
                and item.ndim in (PLANE, PLANE + 1)
                and item.dtype.kind in 'iuf'
            ):
                usable[name] = item

        root.visititems(note)
        wanted = dataset.strip('/') or next(iter(usable), '')
        if wanted not in usable:
            missing = f'no dataset {dataset!r} of images' if dataset else 'no dataset of images'
            present = _listed(usable) or 'none'
            raise _refused(file, f'{missing}; numeric ones of 2 or 3 dimensions: {present}')
        yield from _stack(f'{file.name}::{wanted}', usable[wanted])


def _stack(name: str, array: Any) -> Iterator[Image]:
    """The images of an array-like: one, or one per index of the first axis."""
    if array.dtype.kind not in 'biuf':
        raise _refused(name, f'pixels are numbers, not {array.dtype}')
    if not array.size:
        raise _refused(name, f'no pixels: its shape is {array.shape}')
    coloured = array.ndim > PLANE and array.shape[-1] in COLOURS
    if array.ndim == PLANE + coloured:
        yield _image(name, array.shape, lambda: np.asarray(array))
    elif array.ndim == PLANE + 1 + coloured:
        for number in range(array.shape[0]):
            read = partial(_at, array, number)
            yield _image(f'{name}[{number}]', array.shape[1:], read)
    else:
        raise _refused(
            name,
            f'{array.ndim} dimensions {array.shape}; an image has 2, a stack of images 3, '
            'and one more for colours',
        )


def _image(name: str, shape: tuple[int, ...], read: Callable[[], Array]) -> Image:
    rows, columns = shape[:2]
    return Image(name, (rows, columns), read)


def _at(stack: Any, number: int) -> Array:
    return np.asarray(stack[number])


def _interleaved(page: tifffile.TiffPage | tifffile.TiffFrame) -> Array:
    return np.moveaxis(page.asarray(), 0, -1)


def _refused(name: object, why: str) -> ConfigError:
    return ConfigError(f'--input {name}: {why}')


def _listed(names: Any) -> str:
    return ', '.join(sorted(names))


HDF5: Final = ('.h5', '.hdf5', '.nxs')
READERS: Final[dict[str, Callable[[Path, str], Iterator[Image]]]] = {
    **dict.fromkeys(HDF5, _hdf5),
    **dict.fromkeys(('.tif', '.tiff'), _tiff),
    **dict.fromkeys(('.png', '.jpg', '.jpeg'), _picture),
    '.npy': _numpy,
}
