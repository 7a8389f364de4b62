from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from parsl_streaming.config import Config
from parsl_streaming.config import load_config
from parsl_streaming.errors import ConfigError
from parsl_streaming.errors import UnknownChannel
from parsl_streaming.errors import UnknownSite
from parsl_streaming.rules import BUILT_IN
from parsl_streaming.spec import Durability
from parsl_streaming.spec import Site

FULL = """
[session]
registry_address = "10.0.0.7"
directory = "elsewhere"

[sites.instrument]
network = "beamline"
addresses = ["10.0.0.7", "eth0", "fe80::1"]
key_file = "instrument.key"

[sites.hpc]
network = "hpc"
inbound = true

[channels.frames]
from = "instrument"
to = "hpc"
durability = "disk"

[channels.peaks]
from = "hpc"
to = "submit"

[architectures.mss]
url = "rediss://broker.example:443"
password_file = "broker.password"

[[policy]]
name = "mine"
use = "mss"
when = { durability = ["memory", "disk"] }
because = "We have one."
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / 'streaming.toml'
    path.write_text(FULL, encoding='utf-8')
    return path


def small(**changes: Any) -> dict[str, Any]:
    return {
        'sites': {'instrument': {'network': 'beamline'}, 'hpc': {'network': 'hpc'}},
        'channels': {'frames': {'from': 'instrument', 'to': 'hpc'}},
    } | changes


def mistakes(source: Path | str | dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(source)
    return str(caught.value)


def test_full_file(file: Path) -> None:
    config = load_config(file)
    assert config.origin == str(file)
    assert config.session.registry_address == '10.0.0.7'
    assert config.session.directory == 'elsewhere'
    assert config.sites['instrument'].addresses == ('10.0.0.7', 'eth0', 'fe80::1')
    assert config.sites['hpc'] == Site(name='hpc', network='hpc', inbound=True)
    assert config.channels['frames'].durability is Durability.DISK
    assert config.rules[0].name == 'mine'
    assert config.rules[1:] == BUILT_IN


def test_files_are_relative_to_the_configuration(file: Path) -> None:
    config = load_config(str(file))
    assert config.sites['instrument'].key_file == str(file.parent / 'instrument.key')
    assert config.options['mss'] == {
        'url': 'rediss://broker.example:443',
        'password_file': str(file.parent / 'broker.password'),
    }


def test_defaults() -> None:
    config = load_config({})
    assert config.session.registry_address == '127.0.0.1'
    assert config.sites == {'submit': Site(name='submit')}
    assert config.channels == {}
    assert config.rules == BUILT_IN


def test_submit_stands_in_the_first_network() -> None:
    assert load_config(small()).sites['submit'] == Site(name='submit', network='beamline')


def test_submit_may_be_declared() -> None:
    config = load_config({'sites': {'hpc': {}, 'submit': {'network': 'x', 'inbound': True}}})
    assert config.sites['submit'] == Site(name='submit', network='x', inbound=True)


def test_ends() -> None:
    config = load_config(small())
    source, target = config.ends(config.channel('frames'))
    assert (source.name, target.name) == ('instrument', 'hpc')


def test_options_are_not_shown() -> None:
    config = load_config(small(architectures={'mss': {'url': 'redis://broker.example'}}))
    assert isinstance(config, Config)
    assert 'broker.example' not in repr(config)


def test_unknown_names_get_a_hint() -> None:
    config = load_config(small())
    with pytest.raises(UnknownChannel, match='there are: "frames"; did you mean "frames"'):
        config.channel('frame')
    with pytest.raises(UnknownSite, match='did you mean "instrument"'):
        config.site('instrment')


def test_missing_file(tmp_path: Path) -> None:
    assert 'nowhere.toml: cannot be read' in mistakes(tmp_path / 'nowhere.toml')


@pytest.mark.parametrize('content', [b'[sites', b'\xff\xfe', b'a = 1\na = 2\n'])
def test_not_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'streaming.toml'
    path.write_bytes(content)
    assert f'{path}: is not valid TOML' in mistakes(path)


def test_every_mistake_is_in_one_error(tmp_path: Path) -> None:
    path = tmp_path / 'streaming.toml'
    path.write_text(
        """
        [sesion]
        [sites.hpc]
        inbound = "yes"
        [channels.frames]
        from = "hcp"
        patern = "shuffle"
        timeout = "5 minutes"
        [[policy]]
        name = "mine"
        use = "mms"
        """,
        encoding='utf-8',
    )
    lines = mistakes(path).splitlines()
    assert all(line.startswith(f'{path}: ') for line in lines)
    wanted = (
        'sesion: unknown key; allowed:',
        'did you mean "session"?',
        'sites.hpc.inbound: found "yes"; allowed: true or false',
        'channels.frames.from: found "hcp"; allowed: "hpc", "submit"; did you mean "hpc"?',
        'channels.frames.patern: unknown key',
        'did you mean "pattern"?',
        'channels.frames.timeout: found "5 minutes"; allowed: seconds, or a text such as "10 ms"',
        'channels.frames.to: missing',
        'policy[0].use: found "mms"',
        'did you mean "mss"?',
    )
    assert [each for each in wanted if each not in '\n'.join(lines)] == []
    assert len(lines) == 7


@pytest.mark.parametrize('section', ['session', 'sites', 'channels', 'architectures'])
def test_sections_are_tables(section: str) -> None:
    assert mistakes({section: 5}) == f'configuration: {section}: found 5; allowed: a table'


@pytest.mark.parametrize('name', ['a b', '', '../x', 'x' * 65])
def test_site_names(name: str) -> None:
    assert 'wrong name' in mistakes({'sites': {name: {}}})


@pytest.mark.parametrize('address', ['tcp://10.0.0.7', '10.0.0.7:5000', '', 'a b', '*', 7])
def test_addresses(address: object) -> None:
    for wrong in (
        {'session': {'registry_address': address}},
        {'sites': {'s': {'addresses': [address]}}},
    ):
        assert 'without a port' in mistakes(wrong)


@pytest.mark.parametrize('address', ['0.0.0.0', '::1', 'fe80::1%eth0', 'login01.example.org'])
def test_good_addresses(address: str) -> None:
    assert load_config({'sites': {'s': {'addresses': [address]}}}).sites['s'].addresses == (
        address,
    )


def test_url_with_password_is_refused() -> None:
    text = mistakes({'architectures': {'mss': {'url': 'redis://:geheim@broker.example'}}})
    assert 'architectures.mss.url: the URL holds a password' in text
    assert 'set password_file' in text
    assert 'geheim' not in text


@pytest.mark.parametrize(
    'options', [{'password': 'geheim'}, {'API_KEY': 'geheim'}, {'users': [{'x_token': 'geheim'}]}]
)
def test_secret_options_are_refused(options: dict[str, Any]) -> None:
    text = mistakes({'architectures': {'mss': options}})
    assert 'holds a secret' in text
    assert 'geheim' not in text


def test_options_of_an_unknown_architecture() -> None:
    assert 'did you mean "mss"?' in mistakes({'architectures': {'mms': {}}})
