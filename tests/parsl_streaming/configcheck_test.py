from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_streaming import configcheck
from parsl_streaming.configcheck import DURATIONS
from parsl_streaming.configcheck import SIZES
from parsl_streaming.configcheck import Problems
from parsl_streaming.errors import ConfigError

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


class Colour(StrEnum):
    RED = 'red'
    GREEN = 'green'


READERS = {
    'text': configcheck.text,
    'path': configcheck.path,
    'flag': configcheck.flag,
    'count': configcheck.count(),
    'size': configcheck.size(),
    'duration': configcheck.duration(),
    'colour': configcheck.member_of(Colour),
    'colours': configcheck.list_of(configcheck.member_of(Colour)),
}


@pytest.mark.parametrize(
    ('value', 'meant'),
    [
        (1, 1),
        (4096.0, 4096),
        ('7 B', 7),
        ('64 MiB', 64 << 20),
        ('2KiB', 2048),
        ('500 kB', 500_000),
        ('1.5 MB', 1_500_000),
        (' 1 GiB ', 1 << 30),
    ],
)
def test_size(value: object, meant: int) -> None:
    assert configcheck.size()(value) == meant


@pytest.mark.parametrize(
    'value', [0, -1, True, 1.5, math.inf, math.nan, '64', '64 mib', '-1 B', '0.5 B', None, [1]]
)
def test_size_refuses(value: object) -> None:
    with pytest.raises(ValueError, match='64 MiB'):
        configcheck.size()(value)


def test_size_states_its_limit() -> None:
    with pytest.raises(ValueError, match='at most 1024'):
        configcheck.size(most=1024)('1 MiB')


@pytest.mark.parametrize(
    ('value', 'meant'),
    [(0, 0.0), (2.5, 2.5), ('10 ms', 0.01), ('5 s', 5.0), ('5 min', 300.0), ('100us', 0.0001)],
)
def test_duration(value: object, meant: float) -> None:
    assert configcheck.duration()(value) == meant


@pytest.mark.parametrize('value', [-1, False, math.nan, math.inf, '5 minutes', '5', 's', None])
def test_duration_refuses(value: object) -> None:
    with pytest.raises(ValueError, match='10 ms'):
        configcheck.duration()(value)


@given(st.integers(1, 10**6), st.sampled_from(sorted(SIZES)))
def test_size_with_unit_is_the_product(number: int, unit: str) -> None:
    assert configcheck.size()(f'{number} {unit}') == number * SIZES[unit]


@given(st.integers(1, 10**6), st.sampled_from(sorted(DURATIONS)))
def test_duration_with_unit_is_the_product(number: int, unit: str) -> None:
    assert configcheck.duration()(f'{number} {unit}') == pytest.approx(number * DURATIONS[unit])


@given(st.sampled_from(sorted(READERS)), ANYTHING)
def test_a_reader_raises_nothing_but_value_errors(name: str, value: object) -> None:
    problems = Problems('f')
    found = problems.read('t', {name: value}, READERS)
    assert (name in found) == (problems.lines == [])


@given(st.dictionaries(st.sampled_from([*READERS, 'other']), ANYTHING))
def test_every_key_is_read_or_noted(table: dict[str, object]) -> None:
    problems = Problems('f')
    found = problems.read('t', table, READERS)
    assert len(found) + len(problems.lines) == len(table)


def test_count_has_limits() -> None:
    read = configcheck.count(2, 4)
    assert read(4) == 4
    for wrong in (1, 5, True, 3.0):
        with pytest.raises(ValueError, match='from 2 to 4'):
            read(wrong)


def test_list_is_not_empty() -> None:
    read = configcheck.list_of(configcheck.flag)
    assert read([True, False]) == (True, False)
    with pytest.raises(ValueError, match=r'a list that is not empty$'):
        read([])
    with pytest.raises(ValueError, match=r'not empty, such as \["127.0.0.1"\]$'):
        read('127.0.0.1')


def test_path_takes_path_objects() -> None:
    assert configcheck.path(Path('a') / 'b') == 'a/b'


def test_member_of_suggests() -> None:
    read = configcheck.member_of(Colour)
    assert read('red') is Colour.RED
    with pytest.raises(ValueError, match='"green", "red"; did you mean "green"'):
        read('grene')


def test_suggest_ignores_case_and_strangers() -> None:
    assert configcheck.suggest('HPC', ['hpc', 'beamline']) == '; did you mean "hpc"?'
    assert configcheck.suggest('xyzzy', ['hpc', 'beamline']) == ''


@pytest.mark.parametrize(
    'url', ['redis://:geheim@host', 'rediss://user:geheim@host:443/0', 'redis://:ge/heim@host']
)
def test_show_hides_passwords(url: str) -> None:
    assert configcheck.holds_password(url)
    assert 'heim' not in configcheck.show(url)
    assert 'heim' not in configcheck.show([{'url': url}])


@pytest.mark.parametrize('url', ['redis://host:6379/0', 'rediss://user@host:443', 'host:1', 7])
def test_url_without_password(url: object) -> None:
    assert not configcheck.holds_password(url)


def test_show_cuts_long_values() -> None:
    assert len(configcheck.show('x' * 1000)) == 60


def test_problems_come_together() -> None:
    problems = Problems('file')
    problems.read('a', {'fleg': 1, 'flag': 1}, {'flag': configcheck.flag}, required=['flag'])
    problems.read('b', {}, {'flag': configcheck.flag}, required=['flag'])
    problems.read('c', 5, {})
    with pytest.raises(ConfigError) as caught:
        problems.check()
    assert str(caught.value).splitlines() == [
        'file: a.fleg: unknown key; allowed: "flag"; did you mean "flag"?',
        'file: a.flag: found 1; allowed: true or false',
        'file: b.flag: missing; this key is required',
        'file: c: found 5; allowed: a table',
    ]


def test_no_problem_no_error() -> None:
    problems = Problems('file')
    assert problems.read('a', {'flag': True}, READERS) == {'flag': True}
    problems.check()
    assert problems.lines == []
