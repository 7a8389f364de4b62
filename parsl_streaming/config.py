"""The configuration: `streaming.toml` as sites, channels, options and rules.

The site `submit` is the submit process. It always exists; unless it is declared it accepts
no connections from other networks and stands in the network of the first declared site,
because a workflow is usually submitted from where its data is made.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import tomllib
from collections.abc import Collection
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from typing import Final

from parsl_streaming import architectures
from parsl_streaming import configcheck
from parsl_streaming.channelcheck import read_channel
from parsl_streaming.configcheck import Problems
from parsl_streaming.configcheck import Reader
from parsl_streaming.configcheck import quoted
from parsl_streaming.configcheck import suggest
from parsl_streaming.errors import ConfigError
from parsl_streaming.errors import UnknownChannel
from parsl_streaming.errors import UnknownSite
from parsl_streaming.policy import Rule
from parsl_streaming.rulecheck import read_rules
from parsl_streaming.rules import BUILT_IN
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Site

SUBMIT: Final = 'submit'
"""Name of the submit process's site."""

_SECTIONS: Final = ('session', 'sites', 'channels', 'architectures', 'policy')
_SITE_NAME: Final = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,63}')
_HOST: Final = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]*')
_SECRET: Final = re.compile(r'(.*_)?(password|passwd|passphrase|secret|token|api_key|private_key)')


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """What concerns the session as a whole.

    Attributes:
        registry_address: Where the registry listens: an address of a declared interface.
        directory: The session's files (keys 0600, a broker's data), relative to the working
            directory, as Parsl's `runinfo` is.
    """

    registry_address: str = '127.0.0.1'
    directory: str = 'runinfo/streaming'


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A configuration without mistakes.

    Attributes:
        origin: The file's name, for messages.
        session: What concerns the session as a whole.
        sites: The sites by name, `submit` included.
        channels: The channels by name.
        options: The options of each architecture's constructor; never shown.
        rules: The policy's rules in the order of their precedence, the built-in ones last.
    """

    origin: str
    session: SessionConfig
    sites: Mapping[str, Site]
    channels: Mapping[str, ChannelSpec]
    options: Mapping[str, Mapping[str, Any]] = field(repr=False)
    rules: tuple[Rule, ...]

    def channel(self, name: str) -> ChannelSpec:
        """The channel of this name.

        Raises:
            UnknownChannel: There is none; the text names those that there are.
        """
        if name not in self.channels:
            raise UnknownChannel(self._unknown('channel', name, self.channels))
        return self.channels[name]

    def site(self, name: str) -> Site:
        """The site of this name.

        Raises:
            UnknownSite: There is none; the text names those that there are.
        """
        if name not in self.sites:
            raise UnknownSite(self._unknown('site', name, self.sites))
        return self.sites[name]

    def ends(self, channel: ChannelSpec) -> tuple[Site, Site]:
        """The sites of a channel's writers and of its readers."""
        return self.site(channel.source), self.site(channel.target)

    def _unknown(self, kind: str, name: str, known: Collection[str]) -> str:
        hint = suggest(name, known)
        return f'{self.origin}: no {kind} "{name}" is configured; there are: {quoted(known)}{hint}'


def load_config(source: Path | str | Mapping[str, Any]) -> Config:
    """Read and check a configuration.

    Args:
        source: A `streaming.toml`, or its content as a mapping. Key and password files are
            relative to the folder of the file (of a mapping: to the working directory).

    Raises:
        ConfigError: It cannot be read, or is wrong: one line for each mistake.
    """
    if isinstance(source, Mapping):
        return _build(source, Problems('configuration'), Path())
    path = Path(source)
    return _build(_parse(path), Problems(str(path)), path.parent)


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        msg = f'{path}: cannot be read: {error.strerror or error}; name a streaming.toml'
        raise ConfigError(msg) from error
    except ValueError as error:
        msg = f'{path}: is not valid TOML in UTF-8: {error}'
        raise ConfigError(msg) from error


def _build(document: Mapping[str, Any], problems: Problems, folder: Path) -> Config:
    parts = problems.read('', document, dict.fromkeys(_SECTIONS, lambda value: value))
    sites = _sites(problems, parts.get('sites', {}), folder)
    known = _known_architectures()
    found = problems.table('channels', parts.get('channels', {}))
    channels = {
        name: read_channel(problems, name, value, sites, known) for name, value in found.items()
    }
    networks = {site.network for site in sites.values()}
    config = Config(
        origin=problems.origin,
        session=SessionConfig(**problems.read('session', parts.get('session', {}), _SESSION)),
        sites=sites,
        channels=channels,
        options=_options(problems, parts.get('architectures', {}), folder),
        rules=read_rules(problems, parts.get('policy', []), known, found, sites, networks),
    )
    problems.check()
    return config


def _known_architectures() -> set[str]:
    """Those that are installed, and those that a later installation may bring."""
    return {*architectures.names(), *(rule.use for rule in BUILT_IN)}


def _sites(problems: Problems, value: object, folder: Path) -> dict[str, Site]:
    sites = {}
    for name, table in problems.table('sites', value).items():
        path = f'sites.{name}'
        if not _SITE_NAME.fullmatch(name):
            problems.add(path, 'wrong name; allowed: up to 64 letters, digits, ".", "_" and "-"')
        found = problems.read(path, table, _SITE)
        if 'key_file' in found:
            found['key_file'] = _file(folder, found['key_file'])
        sites[name] = Site(name=name, **found)
    network = next((site.network for site in sites.values()), Site(name=SUBMIT).network)
    sites.setdefault(SUBMIT, Site(name=SUBMIT, network=network))
    return sites


def _options(problems: Problems, value: object, folder: Path) -> dict[str, dict[str, Any]]:
    options = {}
    for name, table in problems.table('architectures', value).items():
        path = f'architectures.{name}'
        options[name] = dict(problems.table(path, table))
        if name not in (known := _known_architectures()):
            hint = suggest(name, known)
            problems.add(path, f'unknown architecture; allowed: {quoted(known)}{hint}')
        _refuse_secrets(problems, path, options[name])
        for key, option in options[name].items():
            if key.endswith('_file') and isinstance(option, str):
                options[name][key] = _file(folder, option)
    return options


def _file(folder: Path, name: str) -> str:
    """An absolute path, for workers that run in other directories."""
    return str((folder / Path(name).expanduser()).absolute())


def _refuse_secrets(problems: Problems, path: str, value: object) -> None:
    """Note every secret in the options of an architecture, without showing it."""
    advice = 'store it in a file that only you can read (chmod 600)'
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(item, str) and _SECRET.fullmatch(key.lower()):
                problems.add(f'{path}.{key}', f'holds a secret; {advice} and set {key}_file')
            else:
                _refuse_secrets(problems, f'{path}.{key}', item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse_secrets(problems, f'{path}[{index}]', item)
    elif configcheck.holds_password(value):
        problems.add(path, f'the URL holds a password; {advice} and set password_file')


def _address(value: object) -> str:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(value)
            return value
        if _HOST.fullmatch(value):
            return value
    msg = 'an IP address, a host name or an interface, without a port'
    raise ValueError(msg)


_SESSION: Final[Mapping[str, Reader]] = {
    'registry_address': _address,
    'directory': configcheck.path,
}
_SITE: Final[Mapping[str, Reader]] = {
    'network': configcheck.text,
    'inbound': configcheck.flag,
    'addresses': configcheck.list_of(_address),
    'key_file': configcheck.path,
}
