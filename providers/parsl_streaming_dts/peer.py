"""A reader as the writer of a direct link sees it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message

from parsl_streaming import curve
from parsl_streaming.credit import Account
from parsl_streaming.credit import Window
from parsl_streaming.ledger import Entry
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Buffer
from parsl_streaming.seam import EndContext
from parsl_streaming.seam import Member
from parsl_streaming_dts import control
from parsl_streaming_dts.race import first_reachable

LINGER_MS = 2000
_RECONNECT_MS = 20
_POLLIN = int(zmq.POLLIN)  # enumerations are slow where every batch passes
_RECONNECT_MAX_MS = 500

_EVENTS = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_NEWS: dict[int, str] = {zmq.EVENT_DISCONNECTED: 'lost', zmq.EVENT_HANDSHAKE_SUCCEEDED: 'back'}


class Peer:
    """Two connections to one reader: control under CURVE, data sealed or plain.

    Args:
        context: The link's ZeroMQ context.
        keys: The writer's key pair.
        end: The writer's end.
        member: The reader.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        keys: curve.KeyPair,
        end: EndContext,
        member: Member,
    ) -> None:
        self.name = member.name
        self.epoch = member.epoch
        self.group = member.group
        self.account = Account()
        self.window = Window(1, 1)
        self.lost_at: float | None = None
        self.dry = False
        self._hello = (end.name, end.epoch, secrets.token_bytes(16))
        self.control = context.socket(zmq.DEALER)
        curve.make_client(self.control, keys, member.contact['key'])
        self.data = context.socket(zmq.DEALER)
        self.data.routing_id = self._hello[2]
        self.data.setsockopt(zmq.MAXMSGSIZE, 2 * end.channel.max_message_bytes)
        for socket in (self.control, self.data):
            _prepare(socket, end.channel.lease)
        self.monitors = [socket.get_monitor_socket(_EVENTS) for socket in (self.control, self.data)]
        self._down: set[zmq.Socket[bytes]] = set()
        self._connect(member.contact)

    def _connect(self, contact: Mapping[str, Any]) -> None:
        candidates = [(host, port) for host, port, _ in contact['addresses']]
        host, port, data_port = contact['addresses'][first_reachable(candidates) or 0]
        bracketed = f'[{host}]' if ':' in host else host
        self.control.connect(f'tcp://{bracketed}:{port}')
        self.data.connect(f'tcp://{bracketed}:{data_port}')
        self.greet()

    def greet(self) -> None:
        """Say who we are."""
        self.control.send(control.encode(control.HELLO, *self._hello))

    @property
    def greeted(self) -> bool:
        """Whether the reader has answered our greeting."""
        return self.account.limit_messages > 0

    def grant(self, messages: int, nbytes: int) -> None:
        """The reader allows so much; begin with a small window of it."""
        self.window = Window(messages, nbytes)
        self.account.grant(self.window.messages, self.window.nbytes)

    def widen(self) -> None:
        """The reader ran dry while batches waited."""
        self.dry = False
        if self.window.grow():
            self.account.grant(self.window.messages, self.window.nbytes)

    def send(self, entry: Entry) -> None:
        """Send a batch that the ledger has handed to this reader."""
        batch = entry.batch
        deliveries = entry.deliveries[self.group]
        if deliveries > 1:
            settled = control.mask_to_bytes(entry.settled.get(self.group, 0))
            self.control.send(control.encode(control.AGAIN, batch.number, deliveries, settled))
        self.account.spend(batch.count, batch.nbytes)
        self.dry = False
        self.send_raw(batch, again=deliveries > 1)

    def send_raw(self, batch: Batch, *, again: bool = False) -> None:
        """Put the batch's bytes on the data connection; large bodies are not copied."""
        self.data.send(batch.head, zmq.SNDMORE)
        send_body(self.data, batch.body, zmq.SNDMORE if again else 0)
        if again:
            self.data.send(b'')

    def read_monitors(self) -> str | None:
        """What became of the connections: `lost`, `back`, `refused`, or no news."""
        news = None
        for monitor in self.monitors:
            while monitor.poll(0):
                event = parse_monitor_message(monitor.recv_multipart())['event']
                # libzmq does not connect again after a refusal, so it must not be overlooked.
                news = 'refused' if news == 'refused' else _NEWS.get(event, 'refused')
                self._note(monitor, news)
        return 'lost' if self._down and news == 'back' else news

    def _note(self, monitor: zmq.Socket[bytes], news: str) -> None:
        """Whatever was on its way through a connection that was lost may be lost too."""
        if news == 'lost':
            self._down.add(monitor)
            self.lost_at = self.lost_at or time.monotonic()
        else:
            self._down.discard(monitor)

    def close(self, *, linger: bool) -> None:
        """Close both connections; with `linger`, what was sent still leaves."""
        for socket, monitor in zip((self.control, self.data), self.monitors, strict=True):
            socket.disable_monitor()
            monitor.close(0)
            socket.close(LINGER_MS if linger else 0)


def has_input(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message waits; cheaper than polling."""
    return bool(int(socket.getsockopt(zmq.EVENTS)) & _POLLIN)


def send_body(socket: zmq.Socket[bytes], body: Buffer, flags: int = 0) -> None:
    """Send the last part of a batch; a large one is not copied."""
    if len(body) < zmq.COPY_THRESHOLD:
        socket.send(body, flags)
    else:
        socket.send(body, flags, copy=False)


def _prepare(socket: zmq.Socket[bytes], lease: float) -> None:
    """No high-water mark: credit bounds what is in flight, in bytes."""
    socket.sndhwm = 0
    socket.rcvhwm = 0
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS)
    socket.setsockopt(zmq.IPV6, 1)
    curve.set_heartbeat(socket, lease)
