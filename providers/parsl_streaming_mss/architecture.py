"""Managed streaming: Redis Streams in a broker of ours, or in one that a facility runs."""

from __future__ import annotations

import secrets
import threading
from contextlib import closing
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar

from parsl_streaming.errors import BrokerUnavailable
from parsl_streaming.errors import ConfigError
from parsl_streaming.errors import UsageError
from parsl_streaming.seam import Batch
from parsl_streaming.seam import EndContext
from parsl_streaming.seam import Provision
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Durability
from parsl_streaming.spec import Pattern
from parsl_streaming.spec import Site
from parsl_streaming_mss.access import Access
from parsl_streaming_mss.broker import Broker
from parsl_streaming_mss.connect import Endpoint
from parsl_streaming_mss.connect import check_suitable
from parsl_streaming_mss.connect import connect
from parsl_streaming_mss.entry import batch_of
from parsl_streaming_mss.errors import checked
from parsl_streaming_mss.files import read_authorities
from parsl_streaming_mss.files import read_password
from parsl_streaming_mss.keys import Keys
from parsl_streaming_mss.reader import ManagedReader
from parsl_streaming_mss.script import Scripts
from parsl_streaming_mss.spares import close_kept
from parsl_streaming_mss.tenancy import load_scripts
from parsl_streaming_mss.tenancy import make_user
from parsl_streaming_mss.tenancy import remove
from parsl_streaming_mss.writer import ManagedWriter

_LOOPBACK = '127.0.0.1'
_LETTERS = 100


class ManagedStreaming:
    """Carries channels through Redis Streams.

    Stored batches are deleted when every group has settled them; those of a
    replayable channel are kept until the channel is released.

    Args:
        url: `redis://` or `rediss://` url of a facility's broker; `None` starts our own.
        password_file: File with the password of the url's user, which only we can read.
        ca_file: Certificates (PEM) of the authorities of a `rediss://` broker; those of
            the machine if `None`.
        directory: Where the files of our own broker go; a temporary directory if `None`.
        maxmemory_bytes: Most memory of our own broker; half of the machine's if `None`.

    Raises:
        ConfigError: The url is none, or the options do not fit it.
    """

    name: str = 'mss'
    durabilities: frozenset[Durability] = frozenset(Durability)
    patterns: frozenset[Pattern] = frozenset(Pattern)
    can_replay: bool = True
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        *,
        url: str | None = None,
        password_file: Path | str | None = None,
        ca_file: Path | str | None = None,
        directory: Path | None = None,
        maxmemory_bytes: int | None = None,
    ) -> None:
        self._facility = Endpoint.of_url(url) if url else None
        self._password_file = Path(password_file) if password_file else None
        self._ca_file = Path(ca_file) if ca_file else None
        self._administrator: Endpoint | None = None
        self._check_options()
        self._directory = Path(directory) if directory else None
        self._maxmemory_bytes = maxmemory_bytes
        self._brokers: dict[tuple[str, bool], Broker] = {}
        self._channels: dict[str, Access] = {}

    def _check_options(self) -> None:
        wrong = None
        if self._password_file and (self._facility is None or self._facility.password):
            wrong = 'password_file: needs a url, without a password in it'
        if self._ca_file and (self._facility is None or not self._facility.tls):
            wrong = 'ca_file: needs a url that starts with rediss://'
        if wrong:
            raise ConfigError(wrong)

    def refuse(self, channel: ChannelSpec, source: Site, target: Site) -> str | None:
        """Why the broker cannot be reached from both sites, or only in clear, or `None`."""
        if self._facility:
            return None
        if source.network != target.network:
            return (
                f'the embedded broker serves one network, but {source.name!r} is in '
                f'{source.network!r} and {target.name!r} in {target.network!r}; set the url of a '
                f'broker that both reach'
            )
        for site in (source, target):
            if far := [address for address in site.addresses if not _is_loopback(address)]:
                return (
                    f'the embedded broker has no TLS, so it serves one host, but {site.name!r} '
                    f'declares {far[0]}; set the url of a broker with TLS (rediss://), or, if '
                    f'all runs on one host, declare loopback addresses only'
                )
        return None

    def provision(self, channel: ChannelSpec, source: Site, target: Site) -> Provision:
        """Start or find the broker, and give the channel a user and a name space there.

        Raises:
            BrokerUnavailable: There is none.
            BrokerUnsuitable: It is too old, or could lose data.
            NotAuthorised: It refuses our user, or others can read the password file.
            ConfigError: A file of the options does not hold what it should.
        """
        durable = channel.durability is Durability.DISK
        endpoint = self._administration() or self._own_broker(source, target, durable=durable)
        keys = Keys.of(channel.name, run := secrets.token_hex(4))
        with closing(connect(endpoint)) as connection:
            version = check_suitable(connection, endpoint, durable=durable)
            scripts = load_scripts(connection, version)
            access = Access(endpoint, keys, scripts)
            user, password = make_user(connection, endpoint, access)
        self._channels[channel.name] = access
        return Provision(
            _public(endpoint, version, run, scripts),
            {'user': user, 'password': password, 'authorities': endpoint.authorities},
        )

    def _administration(self) -> Endpoint | None:
        """The facility's broker, if any, with what the files say; they are read once."""
        with self._lock:
            if self._facility and self._administrator is None:
                endpoint = self._facility
                if self._password_file:
                    endpoint = replace(endpoint, password=read_password(self._password_file))
                if self._ca_file:
                    endpoint = replace(endpoint, authorities=read_authorities(self._ca_file))
                self._administrator = endpoint
            return self._administrator

    def _own_broker(self, source: Site, target: Site, *, durable: bool) -> Endpoint:
        host = _listen_address(source, target)
        with self._lock:
            if (host, durable) not in self._brokers:
                self._brokers[host, durable] = Broker(
                    host=host,
                    durable=durable,
                    directory=self._directory,
                    maxmemory_bytes=self._maxmemory_bytes,
                )
            return self._brokers[host, durable].endpoint

    def release(self, channel: ChannelSpec) -> None:
        """Remove the channel's keys, those of a replayable channel too, and its user.

        Raises:
            BrokerUnavailable: The facility's broker does not answer: the keys are still there.
        """
        access = self._channels.pop(channel.name, None)
        if access is None:
            return
        forgiven = [] if self._facility else [BrokerUnavailable]
        with suppress(*forgiven), closing(connect(access.endpoint)) as connection:
            remove(connection, access.keys)

    def dead_letters(self, channel: ChannelSpec) -> list[Batch]:
        """The channel's dead letters, oldest first.

        Raises:
            UsageError: The channel is not provisioned here.
            BrokerUnavailable: The broker does not answer.
        """
        access = self._channels.get(channel.name)
        if access is None:
            msg = f'channel {channel.name!r} is not provisioned by this session, or was released'
            raise UsageError(msg)
        letters: list[Batch] = []
        after = '-'
        with closing(connect(access.endpoint)) as connection:
            while True:
                command = ['XRANGE', access.keys.dead, after, '+', 'COUNT', _LETTERS]
                reply = connection.ask(command)[0]  # type: ignore[arg-type]
                entries: list[list[list[bytes]]] = checked(reply, 'reading dead letters')  # type: ignore[assignment]
                letters += [batch_of(fields) for _, fields in entries]
                if len(entries) < _LETTERS:
                    return letters
                after = '(' + bytes(entries[-1][0]).decode()  # type: ignore[arg-type]

    def open_writer(self, end: EndContext) -> ManagedWriter:
        """Open a producer's end.

        Raises:
            ProducerFenced: A newer epoch of this producer is open.
            StreamingError: The broker cannot be used.
        """
        return ManagedWriter(end, Access.of(end.channel.name, end.public, end.secrets))

    def open_reader(self, end: EndContext) -> ManagedReader:
        """Open a consumer's end.

        Raises:
            UsageError: `start` is none of its values.
            StreamingError: The broker cannot be used.
        """
        return ManagedReader(end, Access.of(end.channel.name, end.public, end.secrets))

    def close(self) -> None:
        """Stop our own brokers and remove their files; idempotent."""
        close_kept()
        with self._lock:
            brokers, self._brokers = self._brokers, {}
        for broker in brokers.values():
            broker.close()


def _public(endpoint: Endpoint, version: str, run: str, scripts: Scripts) -> dict[str, object]:
    return {
        'host': endpoint.host,
        'port': endpoint.port,
        'tls': endpoint.tls,
        'version': version,
        'run': run,
        'functions': scripts.functions,
    }


def _listen_address(source: Site, target: Site) -> str:
    """The first declared loopback address; never another: passwords travel in clear."""
    declared = (*target.addresses, *source.addresses)
    return next(filter(_is_loopback, declared), _LOOPBACK)


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:  # The name of a host or an interface.
        return address == 'localhost'
