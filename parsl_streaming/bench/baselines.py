"""Raw loops: what the same transport does when nothing is promised.

No acknowledgement, de-duplication, checksum, credit or end of stream; one
message at a time, in the plainest way that is still fast.
"""

from __future__ import annotations

import socket
import struct
import time
from array import array
from collections import deque
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any
from typing import Final
from typing import Protocol

import zmq

from parsl_streaming.bench.plan import Plan
from parsl_streaming.seam import Buffer

HOST: Final = '127.0.0.1'
_LENGTH: Final = struct.Struct('<Q')
_IN_FLIGHT_BYTES: Final = 64 << 20


class Loop(Protocol):
    """A transport's two ends. An instance serves one of them."""

    def listen(self, given: Any) -> Any:
        """Be the sink; returns where the source finds it. `given` comes from the parent."""

    def connect(self, address: Any) -> None:
        """Be the source."""

    def send_all(self, payloads: Iterable[bytes]) -> bytes:
        """Send each as a message; returns round trips in seconds (doubles), if it has any."""

    def receive_all(self, count: int) -> Iterator[Buffer]:
        """So many messages."""

    def close(self) -> None:
        """Free the sockets."""


class RawSocket:
    """A length and a payload: `sendall`, and `recv_into` one buffer."""

    def __init__(self, plan: Plan) -> None:
        self._socket = socket.socket()
        self._peer: socket.socket | None = None
        self._buffer = bytearray(plan.load.nbytes)

    def listen(self, given: Any) -> Any:
        """See `Loop.listen`."""
        del given
        self._socket.bind((HOST, 0))
        self._socket.listen(1)
        return self._socket.getsockname()[1]

    def connect(self, address: Any) -> None:
        """See `Loop.connect`."""
        self._socket.connect((HOST, address))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send_all(self, payloads: Iterable[bytes]) -> bytes:
        """See `Loop.send_all`."""
        send = self._socket.sendall
        for payload in payloads:
            send(_LENGTH.pack(len(payload)))
            send(payload)
        self._socket.shutdown(socket.SHUT_WR)
        return b''

    def receive_all(self, count: int) -> Iterator[Buffer]:
        """See `Loop.receive_all`."""
        self._peer, _ = self._socket.accept()
        head, view = memoryview(bytearray(_LENGTH.size)), memoryview(self._buffer)
        for _ in range(count):
            _fill(self._peer, head)
            message = view[: _LENGTH.unpack(head)[0]]
            _fill(self._peer, message)
            yield message

    def close(self) -> None:
        """See `Loop.close`."""
        for each in filter(None, (self._peer, self._socket)):
            each.close()


def _fill(source: socket.socket, view: memoryview) -> None:
    while view:
        received = source.recv_into(view)
        if not received:
            raise EOFError
        view = view[received:]


class PlainZmq:
    """pyzmq PUSH and PULL: one frame per message, without copies."""

    sockets = (zmq.PUSH, zmq.PULL)
    curve = False

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._hwm = max(2, _IN_FLIGHT_BYTES // plan.load.nbytes)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None

    @property
    def _opened(self) -> zmq.Socket[bytes]:
        assert self._socket is not None  # noqa: S101 (listen or connect came first)
        return self._socket

    def _open(self, kind: int) -> zmq.Socket[bytes]:
        opened = self._socket = self._context.socket(kind)
        opened.set_hwm(self._hwm)
        return opened

    def listen(self, given: Any) -> Any:
        """See `Loop.listen`."""
        del given
        pull = self._open(self.sockets[1])
        public = b''
        if self.curve:
            public, secret = zmq.curve_keypair()
            pull.curve_secretkey, pull.curve_publickey = secret, public
            pull.curve_server = True
        return [pull.bind_to_random_port(f'tcp://{HOST}'), public]

    def connect(self, address: Any) -> None:
        """See `Loop.connect`."""
        port, server_key = address
        push = self._open(self.sockets[0])
        if self.curve:
            push.curve_publickey, push.curve_secretkey = zmq.curve_keypair()
            push.curve_serverkey = server_key
        push.connect(f'tcp://{HOST}:{port}')

    def send_all(self, payloads: Iterable[bytes]) -> bytes:
        """See `Loop.send_all`."""
        for payload in payloads:
            self._opened.send(payload, copy=False)
        return b''

    def receive_all(self, count: int) -> Iterator[Buffer]:
        """See `Loop.receive_all`."""
        for _ in range(count):
            yield self._opened.recv(copy=False).buffer

    def close(self) -> None:
        """See `Loop.close`: what was sent still leaves."""
        if self._socket is not None:
            self._socket.close()
        self._context.term()


class CurveZmq(PlainZmq):
    """The same under ZeroMQ's own encryption."""

    curve = True


class PingPong(PlainZmq):
    """pyzmq PAIR and PAIR: every message is echoed, with a window of open requests."""

    sockets = (zmq.PAIR, zmq.PAIR)

    def send_all(self, payloads: Iterable[bytes]) -> bytes:
        """See `Loop.send_all`."""
        sent: deque[float] = deque()
        trips = array('d')
        for payload in payloads:
            if len(sent) >= self._plan.window:
                self._receive_echo(sent, trips)
            self._opened.send(payload, copy=False)
            sent.append(time.monotonic())
        while sent:
            self._receive_echo(sent, trips)
        return trips[self._plan.warm_up :].tobytes()

    def _receive_echo(self, sent: deque[float], trips: array[float]) -> None:
        self._opened.recv(copy=False)
        trips.append(time.monotonic() - sent.popleft())

    def receive_all(self, count: int) -> Iterator[Buffer]:
        """See `Loop.receive_all`."""
        for _ in range(count):
            frame = self._opened.recv(copy=False)
            yield frame.buffer
            self._opened.send(frame, copy=False)
