"""What a run writes and says at its end."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from rich.console import Console

from source_finding import results
from source_finding.verdict import Options
from source_finding.verdict import finish


@pytest.fixture
def options(tmp_path: Path) -> Options:
    pixels = np.random.default_rng(6).normal(0, 1, (100, 100))
    pixels[50:56, 60:66] += 40
    np.save(tmp_path / 'image.npy', pixels)
    return Options(
        path=str(tmp_path / 'image.npy'), output=tmp_path, tile=64, threshold=6.0, workers=1
    )


def test_identical_result(options: Options) -> None:
    said = io.StringIO()
    streamed = results.unstreamed(options.path, options.tile, options.threshold)
    assert finish(options, streamed[::-1], Console(file=said, width=200)) == 0
    assert 'Identical' in said.getvalue()
    assert 'tiles: 4, sources: 1' in said.getvalue()
    assert parquet.read_table(options.output / 'sources.parquet').num_rows == 1
    assert (options.output / 'sources.png').stat().st_size > 1000


def test_difference_is_named_and_fails(options: Options) -> None:
    said = io.StringIO()
    streamed = results.unstreamed(options.path, options.tile, options.threshold)
    assert finish(options, streamed[1:], Console(file=said, width=200)) == 1
    assert '1 tiles never came: 0' in said.getvalue()
    assert 'Identical' not in said.getvalue()
