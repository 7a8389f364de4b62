"""Collecting, comparing and writing results."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from source_finding import results
from source_finding.results import Result


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Two images with a few sources."""
    stack = np.random.default_rng(3).normal(0, 1, (2, 96, 96))
    stack[:, 20:25, 30:35] += 50
    stack[1, 70:75, 60:65] += 80
    np.save(tmp_path / 'stack.npy', stack)
    return str(tmp_path / 'stack.npy')


@pytest.fixture
def expected(path: str) -> list[Result]:
    return results.unstreamed(path, 48, 6.0)


def test_unstreamed_finds_what_is_there(expected: list[Result]) -> None:
    assert [result['tile'] for result in expected] == list(range(8))
    assert sum(len(result['found']) for result in expected) == 3


def test_collect_counts_every_value(expected: list[Result]) -> None:
    ticks: list[int] = []
    assert results.collect(iter(expected), lambda: ticks.append(1)) == expected
    assert len(ticks) == len(expected)


def test_no_difference_in_any_order(expected: list[Result]) -> None:
    shuffled = expected.copy()
    random.Random(4).shuffle(shuffled)
    assert results.differences(shuffled, expected) == []


def test_a_lost_tile(expected: list[Result]) -> None:
    assert results.differences(expected[:-1], expected) == ['1 tiles never came: 7']


def test_a_tile_that_came_twice(expected: list[Result]) -> None:
    twice = [*expected, expected[2]]
    assert results.differences(twice, expected) == ['1 tiles came more than once: 2']


def test_a_tile_that_nobody_asked_for(expected: list[Result]) -> None:
    strange = Result(tile=99, image='other', found=[])
    assert results.differences([*expected, strange], expected) == ['1 tiles were not asked for: 99']


def test_the_smallest_change_of_a_number(expected: list[Result]) -> None:
    changed = copy.deepcopy(expected)
    source = changed[0]['found'][0]
    source['flux'] = float(np.nextafter(source['flux'], np.inf))
    assert results.differences(changed, expected) == ['1 tiles have other sources: 0']


def test_many_differences_are_cut_short(expected: list[Result]) -> None:
    many = [Result(tile=number, image='a', found=[]) for number in range(40)]
    [sentence] = results.differences([], many)
    assert sentence == '40 tiles never came: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...'


def test_table_round_trip(tmp_path: Path, expected: list[Result]) -> None:
    table = results.table(reversed(expected))
    results.write(table, tmp_path / 'sources.parquet')
    again = parquet.read_table(tmp_path / 'sources.parquet')
    assert again.schema == results.SCHEMA
    assert again.equals(results.table(expected))
    assert again.column('image').to_pylist() == ['stack.npy[0]', 'stack.npy[1]', 'stack.npy[1]']


def test_table_without_sources(tmp_path: Path) -> None:
    results.write(results.table([]), tmp_path / 'sources.parquet')
    assert parquet.read_table(tmp_path / 'sources.parquet').num_rows == 0
