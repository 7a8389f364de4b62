"""CURVE keys and the socket options that every connection of ours has.

CurveZMQ (RFC 26) authenticates both sides by their keys and agrees on
ephemeral ones, so a stolen key file does not open recorded traffic.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Final
from typing import Self

import zmq
from zmq.auth.thread import ThreadAuthenticator

from parsl_streaming.errors import ConfigError
from parsl_streaming.errors import NotAuthorised
from parsl_streaming.errors import UsageError

MIN_LIBZMQ: Final = (4, 3, 5)
HANDSHAKE_MS: Final = 10_000
_DOMAIN: Final = 'parsl-streaming'


def require_libzmq() -> None:
    """Refuse a libzmq with known holes (before 4.3.3 unauthenticated denial of service).

    Raises:
        UsageError: libzmq is older than 4.3.5, or has no CURVE.
    """
    if zmq.zmq_version_info() < MIN_LIBZMQ or not zmq.has('curve'):
        msg = (
            f'libzmq {zmq.zmq_version()} is too old or lacks CURVE; parsl-streaming needs '
            '4.3.5 or newer: upgrade pyzmq from its wheel'
        )
        raise UsageError(msg)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair, in Z85 text."""

    public: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls) -> Self:
        """A fresh key pair."""
        public, secret = zmq.curve_keypair()
        return cls(public.decode(), secret.decode())

    def save(self, path: Path) -> None:
        """Write the pair into a new file that only its owner can read."""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, 'w') as file:
            file.write(f'{self.public}\n{self.secret}\n')

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key file.

        Raises:
            NotAuthorised: It cannot be read, or others can read it.
            ConfigError: It is no key file.
        """
        try:
            with path.open() as file:
                mode = os.fstat(file.fileno()).st_mode
                lines = file.read().split()
        except OSError as error:
            msg = (
                f'key file {path}: {error.strerror}; a site needs the session directory, or a '
                'key_file of its own (see docs/security.md)'
            )
            raise NotAuthorised(msg) from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            msg = f'key file {path} can be read by others: chmod 600 it, and make a new key'
            raise NotAuthorised(msg)
        if [len(line) for line in lines] != [40, 40]:
            msg = f'key file {path} does not hold a CURVE key pair: two lines of 40 characters'
            raise ConfigError(msg)
        return cls(*lines)


def make_server(socket: zmq.Socket[bytes], keys: KeyPair) -> None:
    """Make a socket a CURVE server; the context's `Gatekeeper` decides who comes in."""
    socket.curve_server = True
    socket.curve_secretkey = keys.secret.encode()
    socket.curve_publickey = keys.public.encode()
    socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN.encode())
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)


def make_client(socket: zmq.Socket[bytes], keys: KeyPair, server: str) -> None:
    """Make a socket a CURVE client of the server with this public key."""
    socket.curve_serverkey = server.encode()
    socket.curve_secretkey = keys.secret.encode()
    socket.curve_publickey = keys.public.encode()
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)


def set_heartbeat(socket: zmq.Socket[bytes], lease: float) -> None:
    """Let libzmq's own thread notice a silent peer within `lease` seconds."""
    socket.setsockopt(zmq.HEARTBEAT_IVL, max(1, int(lease * 1000 / 4)))
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, max(1, int(lease * 1000 / 2)))
    socket.setsockopt(zmq.HEARTBEAT_TTL, max(100, int(lease * 1000)))


class Gatekeeper:
    """Admits the clients of one ZeroMQ context by their public key.

    Args:
        context: The context whose CURVE servers it guards.
        admits: Says whether a public key (Z85) may connect; called on its own thread.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], admits: Callable[[str], bool]
    ) -> None:
        self._admits = admits
        self._thread = ThreadAuthenticator(context)
        self._thread.start()
        self._thread.configure_curve_callback(_DOMAIN, credentials_provider=self)

    def callback(self, domain: str, key: bytes) -> bool:
        """What the authenticator asks: may this key (Z85) connect?"""
        del domain
        return self._admits(key.decode())

    def close(self) -> None:
        """Stop the thread."""
        self._thread.stop()
