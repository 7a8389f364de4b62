"""The picture: the images with the sources drawn on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import pi
from math import sqrt
from pathlib import Path
from typing import Any
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw
from PIL import ImageFont

from . import inputs

MOST_PANELS: Final = 4
"""One large image, and the next ones beside it."""
HEIGHT: Final = 1100
"""Height of the images' area in pixels."""
GAP: Final = 24
CAPTION: Final = 34
TITLE: Final = 84
FINE: Final = 2
"""Everything is drawn this many times larger, then reduced: smooth lines."""
PAPER: Final = (13, 17, 23)
INK: Final = (230, 237, 243)
FAINT_INK: Final = (139, 148, 158)
FAINT: Final = np.array((64, 156, 255))
BRIGHT: Final = np.array((255, 184, 48))


@dataclass(frozen=True, slots=True)
class Panel:
    """One image on the canvas.

    Attributes:
        name: The image's name.
        pixels: Its brightness.
        scale: Canvas pixels per image pixel.
        left: Where it lies on the canvas.
        top: Where it lies on the canvas.
    """

    name: str
    pixels: NDArray[np.float32]
    scale: float
    left: int
    top: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height on the canvas."""
        rows, columns = self.pixels.shape
        return round(columns * self.scale), round(rows * self.scale)


def draw(path: str | None, sources: pa.Table, file: Path) -> None:
    """Draw the first images of an input with their sources, as a PNG.

    Args:
        path: The images; `None` for the included ones.
        sources: The table of `results.table`.
        file: Where to write the picture.
    """
    shown = [(each.name, each.pixels()) for each in islice(inputs.images(path), MOST_PANELS)]
    panels = list(arrange(shown))
    width = max(panel.left + panel.size[0] for panel in panels) + GAP
    height = max(panel.top + panel.size[1] for panel in panels) + CAPTION + GAP
    canvas = Picture.new('RGB', (width * FINE, height * FINE), PAPER)
    pen = ImageDraw.Draw(canvas)
    _title(pen, sources)
    for panel in panels:
        own = sources.filter(pc.field('image') == panel.name)
        canvas.paste(_panel(panel, own), (panel.left * FINE, panel.top * FINE))
        caption = f'{panel.name}: {own.num_rows} sources'
        _text(pen, panel.left, panel.top + panel.size[1] + 7, caption, 19, INK)
    canvas.resize((width, height), Picture.Resampling.LANCZOS).save(file, optimize=True)


def arrange(shown: list[tuple[str, NDArray[np.float32]]]) -> Iterator[Panel]:
    """Place the first image large at the left and the others in a column beside it.

    Args:
        shown: Names and pixels, at least one.
    """
    (name, pixels), *others = shown
    first = Panel(name, pixels, HEIGHT / pixels.shape[0], GAP, TITLE)
    yield first
    heights = sum(each.shape[0] / each.shape[1] for _, each in others)
    room = HEIGHT - (GAP + CAPTION) * (len(others) - 1)
    # All have one width, at most half of the first one's, and fill the height if they can.
    width = min(room / heights, first.size[0] / 2) if others else 0
    top = TITLE
    for name, pixels in others:
        panel = Panel(name, pixels, width / pixels.shape[1], GAP * 2 + first.size[0], top)
        yield panel
        top += panel.size[1] + CAPTION + GAP


def stretch(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Brightness for the eye: faint things visible, bright ones not burnt out.

    Args:
        pixels: An image in any unit; what is not finite becomes black.
    """
    known = pixels[np.isfinite(pixels)]
    low, high = np.percentile(known, (40, 99.9)) if known.size else (0.0, 1.0)
    ratio = np.nan_to_num(np.clip((pixels - low) / max(high - low, 1e-9), 0, 1))
    return np.asarray(220 * np.arcsinh(8 * ratio) / np.arcsinh(8), np.uint8)


def _title(pen: ImageDraw.ImageDraw, sources: pa.Table) -> None:
    _text(pen, GAP, 14, f'{sources.num_rows} sources found while the images streamed', 30, INK)
    _text(pen, GAP, 52, 'circle: size of the source; colour: significance, from', 17, FAINT_INK)
    left, steps = GAP + 396, 120
    for step in range(steps):
        pen.rectangle(_fine(left + step, 58, left + step + 1, 66), _colour(step / steps))
    _text(pen, left + steps + 10, 52, 'least to most of the image', 17, FAINT_INK)


def _panel(panel: Panel, sources: pa.Table) -> Picture.Image:
    wide, high = panel.size
    grey = Picture.fromarray(stretch(panel.pixels))
    grey = grey.resize((wide * FINE, high * FINE), Picture.Resampling.BICUBIC)
    image = grey.convert('RGB')
    pen = ImageDraw.Draw(image)
    # By rank, not by value: most sources are faint, and a few are a hundred times brighter.
    ordered = sources.sort_by('significance').select(['x', 'y', 'pixels']).to_pylist()
    for rank, source in enumerate(ordered):
        _circle(pen, panel.scale, source, rank / len(ordered))
    return image


def _circle(
    pen: ImageDraw.ImageDraw, scale: float, source: dict[str, Any], strength: float
) -> None:
    x, y = (source['x'] + 0.5) * scale, (source['y'] + 0.5) * scale
    radius = (1.2 * sqrt(source['pixels'] / pi) + 2.5) * scale
    box = _fine(x - radius, y - radius, x + radius, y + radius)
    pen.ellipse(box, outline=_colour(strength), width=2 + round(strength))


def _colour(strength: float) -> tuple[int, int, int]:
    red, green, blue = (FAINT + strength * (BRIGHT - FAINT)).astype(int).tolist()
    return red, green, blue


def _text(
    pen: ImageDraw.ImageDraw, x: float, y: float, text: str, size: int, colour: tuple[int, int, int]
) -> None:
    pen.text((x * FINE, y * FINE), text, colour, ImageFont.load_default(size * FINE))


def _fine(*positions: float) -> list[float]:
    return [position * FINE for position in positions]
