"""CURVE keys and the socket options that every connection of ours has.

CurveZMQ (RFC 26) authenticates both sides by their keys and agrees on
ephemeral ones, so a stolen key file does not open recorded traffic.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Final
from typing import Self

import zmq
from zmq.utils import z85

from parsl_streaming.errors import ConfigError
from parsl_streaming.errors import NotAuthorised
from parsl_streaming.errors import UsageError

MIN_LIBZMQ: Final = (4, 3, 5)
HANDSHAKE_MS: Final = 10_000
_DOMAIN: Final = 'parsl-streaming'
_KEY_BYTES: Final = 32
_AGAIN_MS: Final = 1
_MOST_WAITING: Final = 100


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
    """Admits the clients of one ZeroMQ context by their public key (ZAP, RFC 27).

    Its thread ends with the context.

    Args:
        context: The context whose CURVE servers it guards.
        admits: Says whether a public key (Z85) may connect; called on its own thread.
        patience: Seconds for which a key that is not admitted may still become known:
            news of it may be slower than its owner.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        admits: Callable[[str], bool],
        patience: float = 0.0,
    ) -> None:
        self._admits = admits
        self._patience = patience
        self._waiting: deque[tuple[float, list[bytes]]] = deque()
        self._socket = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind('inproc://zeromq.zap.01')
        threading.Thread(target=self._run, name='gatekeeper', daemon=True).start()

    def _run(self) -> None:
        try:
            while True:
                if self._socket.poll(_AGAIN_MS if self._waiting else None):
                    self._ask(self._socket.recv_multipart())
                self._ask_again()
        except zmq.ContextTerminated:
            self._socket.close()

    def _ask(self, request: list[bytes]) -> None:
        *_, domain, _, _, mechanism, key = request
        if (domain, mechanism, len(key)) != (_DOMAIN.encode(), b'CURVE', _KEY_BYTES):
            self._answer(request, admitted=False)
        elif self._admits(z85.encode(key).decode()):
            self._answer(request, admitted=True)
        elif self._patience and len(self._waiting) < _MOST_WAITING:
            self._waiting.append((time.monotonic() + self._patience, request))
        else:
            self._answer(request, admitted=False)

    def _ask_again(self) -> None:
        now = time.monotonic()
        for _ in range(len(self._waiting)):
            limit, request = self._waiting.popleft()
            admitted = self._admits(z85.encode(request[-1]).decode())
            if admitted or now >= limit:
                self._answer(request, admitted=admitted)
            else:
                self._waiting.append((limit, request))

    def _answer(self, request: list[bytes], *, admitted: bool) -> None:
        """Back to who asked, with the key as the name of the user."""
        client, _, version, number, *_, key = request
        verdict = [b'200', b'OK', z85.encode(key)] if admitted else [b'400', b'No access', b'']
        self._socket.send_multipart([client, b'', version, number, *verdict, b''])
