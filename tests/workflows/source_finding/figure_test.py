"""The picture is there and shows something."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from source_finding import figure
from source_finding import results


@pytest.mark.parametrize('images', [1, 3, 6])
def test_picture_shows_images_and_circles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: int
) -> None:
    monkeypatch.setattr(figure, 'HEIGHT', 240)  # smaller than users get it, and faster
    stack = np.random.default_rng(5).normal(10, 1, (images, 80, 100))
    stack[:, 40:46, 30:36] += 60
    np.save(tmp_path / 'stack.npy', stack)
    path = str(tmp_path / 'stack.npy')
    sources = results.table(results.unstreamed(path, 64, 6.0))
    assert sources.num_rows == images
    figure.draw(path, sources, tmp_path / 'with.png')
    figure.draw(path, results.table([]), tmp_path / 'without.png')
    shown = np.asarray(Picture.open(tmp_path / 'with.png')).astype(int)
    bare = np.asarray(Picture.open(tmp_path / 'without.png')).astype(int)
    assert shown.shape == bare.shape
    # Circles have a colour, all else below the title is near to grey.
    area = (slice(figure.TITLE, None), slice(None))
    assert (np.ptp(shown[area], axis=2) > 60).sum() > 200
    assert (np.ptp(bare[area], axis=2) > 60).sum() == 0


def test_panels_do_not_overlap() -> None:
    shown = [(f'{number}', np.zeros((50 + 10 * number, 80), np.float32)) for number in range(4)]
    first, *others = figure.arrange(shown)
    assert all(panel.left >= first.left + first.size[0] for panel in others)
    for above, below in pairwise(others):
        assert above.top + above.size[1] + figure.CAPTION <= below.top
    assert others[-1].top + others[-1].size[1] <= figure.TITLE + figure.HEIGHT + 2


@pytest.mark.parametrize('level', [3.0, np.nan])
def test_stretch_of_an_image_without_contrast(level: float) -> None:
    assert (figure.stretch(np.full((4, 4), level, np.float32)) == 0).all()
