"""The consumer's end of a direct link."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Final

import zmq

from parsl_streaming import curve
from parsl_streaming.errors import IntegrityError
from parsl_streaming.sealing import TAG_BYTES
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Delivery
from parsl_streaming.seam import EndContext
from parsl_streaming.seam import Flag
from parsl_streaming.wire import decode_batch
from parsl_streaming_dts import contexts
from parsl_streaming_dts import control
from parsl_streaming_dts.frames import AGAIN
from parsl_streaming_dts.frames import URGENT
from parsl_streaming_dts.frames import Frame
from parsl_streaming_dts.inflow import Inflow
from parsl_streaming_dts.inflow import Key
from parsl_streaming_dts.peer import LINGER_MS
from parsl_streaming_dts.peer import has_input

_AGAIN_SECONDS: Final = 0.25
_DRY_SECONDS: Final = 0.01
_ACKS_AT_ONCE: Final = 32
"""Acknowledgements that wait together while batches follow each other closely."""
_CLOSELY: Final = 0.001
_LOOK_SECONDS: Final = 0.005
"""A writer that always has more to read must not hide the others for longer."""
_MOST_UNREAD: Final = 1000


@dataclass(slots=True)
class _Source:
    """A writer that has greeted us: its routing id, and what it is owed."""

    control: bytes
    acks: list[int] = field(default_factory=list)
    released: list[tuple[int, bytes]] = field(default_factory=list)
    again: dict[int, tuple[int, int]] = field(default_factory=dict)


class DirectReader:
    """Listens for writers; they choose what to send within the credit granted."""

    def __init__(self, end: EndContext) -> None:
        curve.require_libzmq()
        self._end = end
        self._keys = curve.KeyPair.new()
        self._poller = zmq.Poller()
        self._sources: dict[Key, _Source] = {}
        self._ahead: deque[Delivery] = deque()
        self._ended: set[Key] = set()
        self._looked = 0.0
        self._refused = 0
        self._acks_due = 0
        self._urgent = False
        self._held = 0
        self._dry_at = 0.0
        self._closed = False
        most = end.channel.max_body_bytes + TAG_BYTES
        self._inflow = Inflow(end.site.addresses, self._poller, most)
        self._context = contexts.borrow()
        self._context.guard(self._admits)
        self._control = self._make_control()
        try:
            addresses = self._listen()
        except BaseException:
            self._free()
            raise
        end.rendezvous.announce({'key': self._keys.public, 'addresses': addresses})

    def _make_control(self) -> zmq.Socket[bytes]:
        socket = self._context.zmq.socket(zmq.ROUTER)
        curve.make_server(socket, self._keys)
        curve.set_heartbeat(socket, self._end.channel.lease)
        socket.setsockopt(zmq.MAXMSGSIZE, control.MAX_BYTES)
        socket.setsockopt(zmq.IPV6, 1)
        socket.sndhwm = 0
        socket.rcvhwm = _MOST_UNREAD
        socket.linger = LINGER_MS
        self._poller.register(socket, zmq.POLLIN)
        return socket

    def _listen(self) -> list[tuple[str, int, int]]:
        addresses = []
        for host, data_port in zip(self._end.site.addresses, self._inflow.ports, strict=True):
            bracketed = f'[{host}]' if ':' in host else host
            port = self._control.bind_to_random_port(f'tcp://{bracketed}')
            addresses.append((host, port, data_port))
        return addresses

    def _admits(self, key: str) -> bool:
        writers = self._end.rendezvous.view.of('writer')
        return any(writer.contact.get('key') == key for writer in writers)

    def read(self, timeout: float) -> Delivery | None:
        """See `LinkReader.read`."""
        if self._urgent or self._acks_due >= _ACKS_AT_ONCE:
            self._send_due()
        delivery = self._receive()
        if delivery is None and self._acks_due and timeout > _CLOSELY:
            delivery = self._await(_CLOSELY)
            timeout -= _CLOSELY
        if delivery is None:
            self._send_due()
            # Before waiting: there may be one of each of many writers.
            delivery = self._late_end() or self._await(timeout)
        if delivery is None and self._held and time.monotonic() >= self._dry_at:
            self._say_dry()
        return delivery

    def _await(self, timeout: float) -> Delivery | None:
        """What comes within the timeout, in parts perhaps."""
        limit = time.monotonic() + timeout
        while True:
            self._look(max(0.0, limit - time.monotonic()))
            delivery = self._receive()
            if delivery is not None or time.monotonic() >= limit:
                return delivery

    def _say_dry(self) -> None:
        """The consumer waits for more before it settles what it has."""
        self._dry_at = time.monotonic() + _DRY_SECONDS
        for source in self._sources.values():
            self._tell(source, control.DRY)

    def _look(self, timeout: float) -> None:
        """See what became ready: control messages, strangers at the door, data."""
        for socket, events in self._poller.poll(math.ceil(timeout * 1000)):
            if isinstance(socket, int):
                self._inflow.serve(socket, events)
            else:
                self._serve()
        self._looked = time.monotonic()

    def _receive(self) -> Delivery | None:
        """The next batch that is already here."""
        if self._ahead:
            return self._ahead.popleft()
        if self._inflow.ready and time.monotonic() - self._looked > _LOOK_SECONDS:
            self._look(0.0)
        return self._next()

    def _next(self) -> Delivery | None:
        while (found := self._inflow.read()) is not None:
            if (delivery := self._deliver(*found)) is not None:
                return delivery
        return None

    def _deliver(self, key: Key, frame: Frame) -> Delivery | None:
        try:
            batch = decode_batch(frame.head, frame.body)
        except IntegrityError:
            self._refused += 1
            return None
        if (batch.producer, batch.epoch) != key:
            self._refused += 1
            return None
        if Flag.END in batch.flags:
            return self._end_once(batch)
        self._held += 1
        self._dry_at = 0.0
        self._urgent |= bool(frame.flags & URGENT)
        if not frame.flags & AGAIN:
            return Delivery(batch)
        source = self._sources[key]
        self._await_again(source, batch.number)
        deliveries, settled = source.again.pop(batch.number, (2, 0))
        return Delivery(batch, deliveries, settled)

    def _await_again(self, source: _Source, number: int) -> None:
        """The news of a redelivery travels on the control connection: it may come later."""
        limit = time.monotonic() + _AGAIN_SECONDS
        while number not in source.again and time.monotonic() < limit:
            self._control.poll(10)
            self._serve()

    def _end_once(self, batch: Batch) -> Delivery | None:
        key = (batch.producer, batch.epoch)
        if key in self._ended:
            return None
        self._ended.add(key)
        return Delivery(batch)

    def _late_end(self) -> Delivery | None:
        """The END of a writer that left before we came, as it left it at the registry."""
        for writer in self._end.rendezvous.view.of('writer'):
            if 'end' in writer.contact and (writer.name, writer.epoch) not in self._ended:
                return self._end_once(decode_batch(*writer.contact['end']))
        return None

    def _serve(self) -> None:
        while has_input(self._control):
            identity, *frames = self._control.recv_multipart()
            self._handle(identity, control.decode(b''.join(frames)))

    def _handle(self, identity: bytes, message: list[Any]) -> None:
        match message:
            case [control.HELLO, str(producer), int(epoch), bytes(token)]:
                self._greet(identity, (producer, epoch), token)
            case [control.AGAIN, int(number), int(deliveries), bytes(mask)]:
                source = next((s for s in self._sources.values() if s.control == identity), None)
                if source is not None:
                    source.again[number] = (deliveries, control.mask_from_bytes(mask))
            case [control.GOT, int(number)]:
                key = next((k for k, s in self._sources.items() if s.control == identity), None)
                if key is not None:
                    self._inflow.confirm(key, number)

    def _greet(self, identity: bytes, key: Key, token: bytes) -> None:
        source = self._sources.setdefault(key, _Source(identity))
        source.control = identity
        self._inflow.expect(key, token)
        spec = self._end.channel
        self._tell(source, control.GRANT, spec.credit_messages, spec.credit_bytes)

    def _tell(self, source: _Source, kind: str, *fields: Any) -> None:
        self._control.send_multipart([source.control, control.encode(kind, *fields)])

    def _source(self, delivery: Delivery) -> _Source | None:
        return self._sources.get((delivery.batch.producer, delivery.batch.epoch))

    def acknowledge(self, delivery: Delivery) -> None:
        """See `LinkReader.acknowledge`."""
        source = self._source(delivery)
        if source is not None:
            self._held -= 1
            source.acks.append(delivery.batch.number)
            self._acks_due += 1

    def _send_due(self) -> None:
        self._acks_due = 0
        self._urgent = False
        for source in self._sources.values():
            if source.acks:
                self._tell(source, control.ACK, source.acks)
                source.acks = []
            for number, mask in source.released:
                self._tell(source, control.RELEASE, number, mask)
            source.released = []

    def mark(self, delivery: Delivery, settled: int) -> None:
        """See `LinkReader.mark`."""
        source = self._source(delivery)
        if source is not None:
            mask = control.mask_to_bytes(settled)
            self._tell(source, control.MARK, delivery.batch.number, mask)

    def release(self, delivery: Delivery, settled: int) -> None:
        """See `LinkReader.release`; with the next read, or with the goodbye."""
        source = self._source(delivery)
        if source is not None:
            self._held -= 1
            source.released.append((delivery.batch.number, control.mask_to_bytes(settled)))

    def extend(self, delivery: Delivery) -> None:
        """Nothing to do: libzmq's heartbeat says that this process lives."""

    def bury(self, delivery: Delivery, letter: Batch) -> None:
        """See `LinkReader.bury`."""
        del delivery
        self._end.rendezvous.bury(letter)

    def reply(self, delivery: Delivery, batch: Batch) -> None:
        """See `LinkReader.reply`."""
        if self._source(delivery) is not None:
            self._inflow.reply((delivery.batch.producer, delivery.batch.epoch), batch)

    def pump(self) -> bool:
        """See `LinkReader.pump`; what has come is taken from the kernel, so that more can come."""
        self._send_due()
        self._look(0.0)
        before = len(self._ahead)
        while (delivery := self._next()) is not None:
            self._ahead.append(delivery)
        return len(self._ahead) > before

    def statistics(self) -> dict[str, int]:
        """See `LinkReader.statistics`: `refused` came from nobody known, or was no batch."""
        return {'refused': self._refused + self._inflow.refused}

    def close(self) -> None:
        """See `LinkReader.close`."""
        if self._closed:
            return
        self._closed = True
        for source in self._sources.values():
            # Released before the goodbye, a batch might be handed to this very reader again.
            for number, mask in source.released:
                self._tell(source, control.MARK, number, mask)
            source.released = []
        limit = time.monotonic() + LINGER_MS / 1000
        while self._inflow.is_cut and time.monotonic() < limit:
            self._look(0.01)
            self._next()
        self._send_due()
        self._inflow.close()  # first: the goodbye says that nothing follows
        for source in self._sources.values():
            self._tell(source, control.BYE)
        self._free()

    def _free(self) -> None:
        self._inflow.close()
        self._control.close()
        self._context.give_back()
