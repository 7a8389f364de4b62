"""A reader as the writer of a direct link sees it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import zmq
from zmq.utils.monitor import parse_monitor_message

from parsl_streaming import curve
from parsl_streaming.credit import Account
from parsl_streaming.credit import Window
from parsl_streaming.ledger import Entry
from parsl_streaming.sealing import TAG_BYTES
from parsl_streaming.seam import Batch
from parsl_streaming.seam import EndContext
from parsl_streaming.seam import Member
from parsl_streaming_dts import control
from parsl_streaming_dts.frames import AGAIN
from parsl_streaming_dts.frames import URGENT
from parsl_streaming_dts.race import first_reachable
from parsl_streaming_dts.stream import TOKEN_BYTES
from parsl_streaming_dts.stream import Stream

LINGER_MS = 2000
_RECONNECT_MS = 20
_DIAL_SECONDS = 0.5
_REPLIES_AT_ONCE = 32
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

    Attributes:
        lost_at: When a connection was lost, until both are there again.
        over_at: When the registry was seen to say that the reader is gone.

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
        self.over_at: float | None = None
        self.dry = False
        self.unconfirmed = 0
        self._end = end
        self.control = context.socket(zmq.DEALER)
        curve.make_client(self.control, keys, member.contact['key'])
        _prepare(self.control, end.channel.lease)
        self.monitor = self.control.get_monitor_socket(_EVENTS)
        self._is_down = False
        candidates = [(host, port) for host, port, _ in member.contact['addresses']]
        host, port, self._data_port = member.contact['addresses'][first_reachable(candidates) or 0]
        self._host = host
        self.control.connect(f'tcp://[{host}]:{port}' if ':' in host else f'tcp://{host}:{port}')
        self.dial()
        self.greet()

    def dial(self) -> None:
        """Connect for data, again if need be."""
        self._token = secrets.token_bytes(TOKEN_BYTES)  # one that was used opens nothing more
        largest = self._end.channel.max_body_bytes + TAG_BYTES
        self.data = Stream.dial(self._host, self._data_port, self._token, largest)
        self.dialled_at = time.monotonic()
        self._is_greeting = False

    def greet(self) -> None:
        """Say who we are, and what our data connection begins with."""
        hello = control.encode(control.HELLO, self._end.name, self._end.epoch, self._token)
        self.control.send(hello)

    def greet_again(self) -> None:
        """Once, when both connections are there again.

        Until it is answered, the reader would send to the control connection that was lost.
        """
        if not self._is_greeting:
            self._is_greeting = True
            self.greet()

    @property
    def is_answered(self) -> bool:
        """Whether a grant that comes now answers such a greeting."""
        return self._is_greeting and self.lost_at is not None

    @property
    def is_ready(self) -> bool:
        """Whether it may be given batches."""
        return self.lost_at is None and self.over_at is None

    @property
    def is_hurt(self) -> bool:
        """Whether a connection is lost, or has been under way for too long."""
        late = not self.data.connected and time.monotonic() - self.dialled_at > _DIAL_SECONDS
        return self.lost_at is not None or self.data.broken or late

    def may_speak(self, grace: float) -> bool:
        """Whether a reader that is over may still be heard: what it settled is on its way.

        Its goodbye ends that, the loss of its connection, or `grace` seconds.
        """
        self.over_at = self.over_at or time.monotonic()
        waited = time.monotonic() - self.over_at
        return self.greeted and not self._is_down and waited < grace

    @property
    def greeted(self) -> bool:
        """Whether the reader has answered our greeting."""
        return self.account.limit_messages > 0

    def grant(self, messages: int, nbytes: int) -> None:
        """The reader allows so much; begin with a small window of it."""
        if self.greeted:
            return  # it answers another greeting
        self.window = Window(messages, nbytes)
        self.account.grant(self.window.messages, self.window.nbytes)

    def widen(self) -> None:
        """The reader ran dry while batches waited."""
        self.dry = False
        if self.window.grow():
            self.account.grant(self.window.messages, self.window.nbytes)

    def send(self, entry: Entry) -> None:
        """Send a batch that the ledger has handed to this reader."""
        self.account.spend(entry.batch.count, entry.batch.nbytes)
        self.dry = False
        if entry.deliveries[self.group] > 1:
            self._tell_again(entry)
        self._transmit(entry)

    def _tell_again(self, entry: Entry) -> None:
        deliveries = entry.deliveries[self.group]
        settled = control.mask_to_bytes(entry.settled.get(self.group, 0))
        self.control.send(control.encode(control.AGAIN, entry.batch.number, deliveries, settled))

    def _transmit(self, entry: Entry) -> None:
        flags = URGENT if self.account.is_tight else 0
        self.send_raw(entry.batch, flags | AGAIN if entry.deliveries[self.group] > 1 else flags)

    def resume(self, entries: Sequence[Entry]) -> None:
        """The reader has heard our new greeting: send again what it may not have got."""
        self.lost_at = None
        self._is_greeting = False
        for entry in entries:
            if entry.deliveries[self.group] > 1:
                self._tell_again(entry)
        for entry in entries:
            self._transmit(entry)

    def confirm(self, number: int) -> None:
        """A reply came: the reader need not keep those up to it, as it hears now and then."""
        self.unconfirmed += 1
        if self.unconfirmed >= _REPLIES_AT_ONCE:
            self.unconfirmed = 0
            self.control.send(control.encode(control.GOT, number))

    def send_raw(self, batch: Batch, flags: int = 0) -> None:
        """Put the batch's bytes on the data connection, as far as it takes them now."""
        self.data.send(batch.head, batch.body, flags)

    def read_monitor(self) -> str | None:
        """What became of the control connection: `lost`, `back`, `refused`, or no news."""
        news = None
        while self.monitor.poll(0):
            event = parse_monitor_message(self.monitor.recv_multipart())['event']
            # libzmq does not connect again after a refusal, so it must not be overlooked.
            news = 'refused' if news == 'refused' else _NEWS.get(event, 'refused')
            if news != 'back':
                # Whatever was on its way may be lost, even if it is back already.
                self.lost_at = self.lost_at or time.monotonic()
                self._is_greeting = False
            self._is_down = news != 'back'
        return news

    @property
    def is_back(self) -> bool:
        """Whether both connections are there."""
        return not self._is_down and self.data.connected

    def close(self, *, linger: bool) -> None:
        """Close both connections; with `linger`, what was sent still arrives."""
        self.control.disable_monitor()
        self.monitor.close(0)
        self.control.close(LINGER_MS if linger else 0)
        self.data.close()


def has_input(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message waits; cheaper than polling."""
    return bool(int(socket.getsockopt(zmq.EVENTS)) & _POLLIN)


def _prepare(socket: zmq.Socket[bytes], lease: float) -> None:
    """No high-water mark: credit bounds what is in flight, in bytes."""
    socket.sndhwm = 0
    socket.rcvhwm = 0
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS)
    socket.setsockopt(zmq.IPV6, 1)
    curve.set_heartbeat(socket, lease)
