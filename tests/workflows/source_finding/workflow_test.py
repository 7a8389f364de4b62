"""The command line and the sites, without Parsl running."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pytest

from parsl_streaming.errors import ConfigError
from source_finding import results
from source_finding import workflow
from source_finding.results import Result
from source_finding.verdict import Options

CONFIG = Path(workflow.__file__).with_name('streaming.toml')


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(7).normal(0, 1, (100, 100))
    pixels[50:56, 60:66] += 40
    np.save(tmp_path / 'image.npy', pixels)
    return tmp_path / 'image.npy'


def unstreamed(options: Options, *_: object) -> list[Result]:
    return results.unstreamed(options.path, options.tile, options.threshold)


def test_options_reach_the_run(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def stream(*arguments: object) -> list[Result]:
        seen.extend(arguments)
        return unstreamed(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(workflow, 'stream', stream)
    monkeypatch.chdir(tmp_path)
    arguments = ['--input', 'image.npy', '--output', 'out', '--tile', '64', '--threshold', '6']
    assert workflow.main(arguments, config=CONFIG, architecture='dts') == 0
    wanted = Options(path=str(image), output=tmp_path / 'out', tile=64, threshold=6.0, workers=2)
    assert seen[:3] == [wanted, CONFIG, 'dts']
    assert {file.name for file in (tmp_path / 'out').iterdir()} == {
        'sources.parquet',
        'sources.png',
    }


def test_difference_gives_exit_status_1(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, 'stream', lambda *given: unstreamed(*given)[1:])
    arguments = ['--input', str(image), '--output', str(tmp_path / 'out')]
    assert workflow.main(arguments, config=CONFIG, architecture=None) == 1


def test_wrong_input_is_refused_before_anything_starts(tmp_path: Path) -> None:
    arguments = ['--input', str(tmp_path / 'nothing'), '--output', str(tmp_path)]
    with pytest.raises(ConfigError, match='no such file'):
        workflow.main(arguments, config=tmp_path / 'not-read.toml', architecture=None)


def test_wrong_architecture_is_refused_before_anything_starts(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ['--input', str(image), '--output', str(tmp_path / 'out')]
    with pytest.raises(ConfigError, match='"foo" is not installed'):
        workflow.main(arguments, config=CONFIG, architecture='foo')
    assert capsys.readouterr().out == ''


def test_wrong_option_is_refused() -> None:
    with pytest.raises(click.UsageError, match='0 is not in the range'):
        workflow.main(['--workers', '0'], config=CONFIG, architecture=None)


def test_sites_are_on_loopback_and_below_the_output(tmp_path: Path) -> None:
    options = Options(path=None, output=tmp_path, tile=128, threshold=4.0, workers=3)
    config = workflow.sites(options)
    assert [(site.label, site.max_workers_per_node) for site in config.executors] == [
        ('instrument', 1),
        ('hpc', 3),
    ]
    assert all(site.address == workflow.LOOPBACK and site.encrypted for site in config.executors)
    assert Path(config.run_dir).parent == tmp_path
