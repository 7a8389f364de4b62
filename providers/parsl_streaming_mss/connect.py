"""Connecting to a broker, and finding out whether it can be trusted with data."""

from __future__ import annotations

import socket
import ssl
import sys
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from ipaddress import ip_address
from typing import Any
from typing import Final
from typing import Self
from urllib.parse import unquote
from urllib.parse import urlsplit

from parsl_streaming.errors import BrokerUnavailable
from parsl_streaming.errors import BrokerUnsuitable
from parsl_streaming.errors import ConfigError
from parsl_streaming.errors import NotAuthorised
from parsl_streaming_mss.errors import broker_error
from parsl_streaming_mss.errors import checked
from parsl_streaming_mss.program import OLDEST
from parsl_streaming_mss.program import parse_version
from parsl_streaming_mss.resp import SMALL_BUFFER
from parsl_streaming_mss.resp import Argument
from parsl_streaming_mss.resp import Connection
from parsl_streaming_mss.resp import ErrorReply

IO_TIMEOUT: Final = 10.0
"""Seconds after which a silent connection counts as lost; far above any BLOCK."""
FUNCTIONS_SINCE: Final = (7, 0)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a broker listens, and who we are there.

    Attributes:
        host: Name or address.
        port: TCP port.
        tls: Whether it speaks TLS.
        user: User name; empty for the default user.
        password: Password; empty for none.
        authorities: Certificates (PEM) of those who may vouch for the broker; empty for
            those of the machine.
    """

    host: str
    port: int
    tls: bool = False
    user: str = ''
    password: str = field(default='', repr=False)
    authorities: str = field(default='', repr=False)

    @classmethod
    def of_url(cls, url: str) -> Self:
        """The endpoint that a `redis://` or `rediss://` url names.

        Raises:
            ConfigError: It is no such url.
        """
        parts = urlsplit(url)
        try:
            port = parts.port or 6379
        except ValueError:
            port = 0
        path_ok = parts.path in ('', '/', '/0') and not parts.query
        if parts.scheme not in ('redis', 'rediss') or not parts.hostname or not port or not path_ok:
            msg = 'url: must read redis[s]://[user@]host[:port], database 0'
            raise ConfigError(msg)
        user, password = unquote(parts.username or ''), unquote(parts.password or '')
        return cls(parts.hostname, port, parts.scheme == 'rediss', user, password)

    def __str__(self) -> str:
        return f'{self.host}:{self.port}'


class Login(Connection):
    """A connection on which we have logged in."""

    def renewed(self, buffer_bytes: int) -> Self:
        """The same connection for another owner, without the buffers of the former."""
        return type(self)(self._sock, buffer_bytes)


def connect(
    endpoint: Endpoint, *, timeout: float = IO_TIMEOUT, buffer_bytes: int = SMALL_BUFFER
) -> Login:
    """Connect and log in.

    Args:
        endpoint: Where, and as whom.
        timeout: Longest wait in seconds for the connection and the login, each.
        buffer_bytes: Usual size of a receive buffer.

    Raises:
        BrokerUnavailable: Nothing answers there, or it is still reading its files.
        NotAuthorised: User or password is wrong, or the broker's certificate is.
    """
    try:
        connection = Login(_open(endpoint, timeout), buffer_bytes)
        reply = _log_in(connection, endpoint, timeout)
    except ssl.SSLCertVerificationError as error:
        msg = (
            f'the broker at {endpoint} did not prove who it is ({error.verify_message}); name its '
            'authority by ca_file, and its host in the url as its certificate does'
        )
        raise NotAuthorised(msg) from error
    except OSError as error:
        msg = f'no broker answers at {endpoint} ({error}); check that it runs and is reachable'
        raise BrokerUnavailable(msg) from error
    if isinstance(reply, ErrorReply):
        connection.close()
        raise broker_error(reply, f'logging in to the broker at {endpoint}')
    return connection


def _open(endpoint: Endpoint, timeout: float) -> socket.socket:
    sock = socket.create_connection((endpoint.host, endpoint.port), timeout)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _avoid_pacing(sock)
        if endpoint.tls:
            context = ssl.create_default_context(cadata=endpoint.authorities or None)
            sock = context.wrap_socket(sock, server_hostname=endpoint.host)
        sock.settimeout(IO_TIMEOUT)
    except OSError:
        sock.close()
        raise
    return sock


def _avoid_pacing(sock: socket.socket) -> None:
    """Within one machine BBR, a usual default, only slows down."""
    if sys.platform == 'linux' and ip_address(sock.getpeername()[0]).is_loopback:
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b'reno')


def _log_in(connection: Connection, endpoint: Endpoint, timeout: float) -> Any:
    commands: list[list[Argument]] = [['PING']]
    if endpoint.password:
        commands.insert(0, ['AUTH', endpoint.user or 'default', endpoint.password])
    try:
        replies = connection.ask(*commands, timeout=timeout)
    except OSError:
        connection.close()
        raise
    return next((reply for reply in replies if isinstance(reply, ErrorReply)), None)


def check_suitable(connection: Connection, endpoint: Endpoint, *, durable: bool) -> str:
    """Refuse a broker that is too old or could lose data.

    Args:
        connection: A connection to it.
        endpoint: Where it is, for the message.
        durable: Whether stored data must survive its `kill -9`.

    Returns:
        Its version.

    Raises:
        BrokerUnsuitable: It must not be used.
    """
    facts: dict[str, str] = {}
    sections = ('server', 'memory', 'persistence')
    for reply in connection.ask(*[('INFO', section) for section in sections]):
        text = checked(reply, f'reading the settings of the broker at {endpoint}')
        lines = bytes(text).decode().splitlines()  # type: ignore[call-overload]
        facts.update(line.split(':', 1) for line in lines if ':' in line)
    version = facts.get('redis_version', '')
    if reason := _unsuitable(facts, parse_version(version), durable=durable):
        msg = f'the broker at {endpoint} must not be used: {reason}'
        raise BrokerUnsuitable(msg)
    return version


def _unsuitable(facts: dict[str, str], version: tuple[int, ...], *, durable: bool) -> str | None:
    if version < OLDEST:
        return f'version {version} is too old; 6.2 or newer is needed'
    policy = facts.get('maxmemory_policy')
    if policy != 'noeviction':
        return f'maxmemory-policy is {policy}, so it may drop data; set it to noeviction'
    if durable and facts.get('aof_enabled') != '1':
        return 'durability "disk" needs its append-only file; set appendonly yes'
    return None
