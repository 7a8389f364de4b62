from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parsl_streaming import architectures
from parsl_streaming.architectures import Catalogue
from parsl_streaming.errors import ConfigError
from parsl_streaming.errors import UsageError
from parsl_streaming.testing.memory import MemoryStreaming

PLUGIN = 'parsl_streaming_architectures_test_plugin'


class Fake(MemoryStreaming):
    name = 'fake'

    def __init__(self, *, url: str = '', retries: int = 1) -> None:
        self.url = url
        self.retries = retries
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Other(MemoryStreaming):
    def __init__(self, **options: int) -> None:
        self.options = options


@pytest.fixture
def fake() -> Iterator[None]:
    architectures.register('fake', Fake)
    yield
    architectures.unregister('fake')


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution `far-away`, installed: one architecture works, `broken` lacks a module."""
    info = tmp_path / 'far_away-1.0.dist-info'
    info.mkdir()
    metadata = 'Metadata-Version: 2.1\nName: far-away\nVersion: 1.0\nProvides-Extra: broken\n'
    (info / 'METADATA').write_text(metadata, encoding='utf-8')
    points = f'far = {PLUGIN}:Far\nbroken = no_such_module:Broken\nhollow = {PLUGIN}:Hollow\n'
    text = f'[{architectures.GROUP}]\n{points}'
    (info / 'entry_points.txt').write_text(text, encoding='utf-8')
    code = 'from parsl_streaming.testing.memory import MemoryStreaming as Far\n'
    (tmp_path / f'{PLUGIN}.py').write_text(code, encoding='utf-8')
    monkeypatch.syspath_prepend(tmp_path)
    look_again = architectures._entry_points.cache_clear
    look_again()
    yield
    look_again()
    sys.modules.pop(PLUGIN, None)


@pytest.mark.usefixtures('fake')
def test_register_and_find() -> None:
    assert 'fake' in architectures.names()
    assert architectures.find('fake') is Fake
    assert architectures.missing('fake') is None


@pytest.mark.usefixtures('fake')
def test_a_name_is_taken_once() -> None:
    architectures.register('fake', Fake)
    with pytest.raises(UsageError, match='register yours under another name'):
        architectures.register('fake', Other)
    assert architectures.find('fake') is Fake


def test_unregister_is_idempotent() -> None:
    architectures.register('brief', Fake)
    architectures.unregister('brief')
    architectures.unregister('brief')
    assert 'brief' not in architectures.names()


@pytest.mark.usefixtures('fake')
def test_unknown_name() -> None:
    with pytest.raises(ConfigError) as caught:
        architectures.find('fkae')
    text = str(caught.value)
    assert 'architecture "fkae" is not installed; installed: ' in text
    assert '"fake"' in text
    assert 'did you mean "fake"?' in text
    assert architectures.GROUP in text


@pytest.mark.usefixtures('plugin')
def test_an_entry_point_is_found() -> None:
    assert 'far' in architectures.names()
    assert architectures.find('far') is MemoryStreaming


@pytest.mark.usefixtures('plugin')
def test_a_name_of_an_entry_point_is_taken() -> None:
    with pytest.raises(UsageError, match='"far" exists already'):
        architectures.register('far', Fake)


@pytest.mark.usefixtures('plugin')
def test_an_extra_is_advised() -> None:
    with pytest.raises(ConfigError) as caught:
        architectures.find('broken')
    text = str(caught.value)
    assert 'cannot be imported (No module named' in text
    assert text.endswith('pip install "far-away[broken]"')


@pytest.mark.usefixtures('plugin')
def test_an_entry_point_without_its_class() -> None:
    reason = architectures.missing('hollow')
    assert reason is not None
    assert 'far-away again' in reason.remedy


@pytest.mark.usefixtures('plugin')
def test_the_extra_of_a_name_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architectures, 'HOME', 'far-away')
    monkeypatch.setattr(architectures, '_entry_points', dict)
    with pytest.raises(ConfigError, match=r'pip install "far-away\[broken\]"'):
        architectures.find('broken')


def test_a_home_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architectures, 'HOME', 'no-such-distribution')
    with pytest.raises(ConfigError, match='install a distribution that provides it'):
        architectures.find('nowhere')


@pytest.mark.usefixtures('fake')
def test_catalogue_makes_one_instance() -> None:
    catalogue = Catalogue({'fake': {'retries': 3}})
    made = catalogue.get('fake')
    assert isinstance(made, Fake)
    assert made.retries == 3
    assert catalogue.get('fake') is made
    assert catalogue.missing('fake') is None
    catalogue.close()
    catalogue.close()
    assert made.closed == 1


@pytest.mark.usefixtures('fake')
def test_catalogue_checks_options() -> None:
    with pytest.raises(ConfigError) as caught:
        Catalogue({'fake': {'ulr': 'x', 'url': 'y'}}, 'streaming.toml')
    assert str(caught.value) == (
        'streaming.toml: architectures.fake.ulr: unknown option; '
        'allowed: "retries", "url"; did you mean "url"?'
    )


def test_catalogue_passes_free_options() -> None:
    architectures.register('other', Other)
    try:
        made = Catalogue({'other': {'anything': 1}}).get('other')
    finally:
        architectures.unregister('other')
    assert isinstance(made, Other)
    assert made.options == {'anything': 1}


def test_catalogue_refuses_options_for_nothing() -> None:
    with pytest.raises(ConfigError, match=r'options: architectures\.nowhere: .* is not installed'):
        Catalogue({'nowhere': {}})
    assert Catalogue().missing('nowhere') is not None


def test_catalogue_says_where_a_refused_option_stands() -> None:
    catalogue = Catalogue({'mss': {'url': 'http://h'}}, 'streaming.toml')
    with pytest.raises(ConfigError, match=r'^streaming\.toml: architectures\.mss\.url: must read'):
        catalogue.get('mss')
