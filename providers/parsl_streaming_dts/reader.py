"""The consumer's end of a direct link."""

from __future__ import annotations

import time
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Final

import zmq

from parsl_streaming import curve
from parsl_streaming.errors import IntegrityError
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Delivery
from parsl_streaming.seam import EndContext
from parsl_streaming.seam import Flag
from parsl_streaming.wire import decode_batch
from parsl_streaming_dts import contexts
from parsl_streaming_dts import control
from parsl_streaming_dts.peer import LINGER_MS
from parsl_streaming_dts.peer import has_input
from parsl_streaming_dts.peer import send_body

_AGAIN_SECONDS: Final = 1.0
_ACKS_AT_ONCE: Final = 8
"""Acknowledgements that wait while there is more to read; otherwise they leave at once."""
_MOST_UNREAD: Final = 1000
_MAX_HEAD_BYTES: Final = 64 << 20


@dataclass(slots=True)
class _Source:
    """A writer that is connected: its routing ids, and what it is owed."""

    control: bytes
    data: bytes
    acks: list[int] = field(default_factory=list)
    released: list[tuple[int, bytes]] = field(default_factory=list)
    again: dict[int, tuple[int, int]] = field(default_factory=dict)


class DirectReader:
    """Listens for writers; they choose what to send within the credit granted."""

    def __init__(self, end: EndContext) -> None:
        curve.require_libzmq()
        self._end = end
        self._keys = curve.KeyPair.new()
        self._context = contexts.borrow()
        self._context.guard(self._admits)
        self._control = self._context.zmq.socket(zmq.ROUTER)
        curve.make_server(self._control, self._keys)
        self._control.setsockopt(zmq.MAXMSGSIZE, control.MAX_BYTES)
        self._data = self._context.zmq.socket(zmq.ROUTER)
        self._data.setsockopt(zmq.MAXMSGSIZE, 2 * end.channel.max_message_bytes + _MAX_HEAD_BYTES)
        # A writer that comes back is heard even before the loss of its old connection is seen.
        self._data.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._sources: dict[tuple[str, int], _Source] = {}
        self._ended: set[tuple[str, int]] = set()
        self._refused = 0
        self._acks_due = 0
        self._held = 0
        self._dry = False
        self._closed = False
        self._poller = zmq.Poller()
        try:
            addresses = self._listen()
        except BaseException:
            self._free()
            raise
        end.rendezvous.announce({'key': self._keys.public, 'addresses': addresses})

    def _listen(self) -> list[tuple[str, int, int]]:
        for socket in (self._control, self._data):
            socket.sndhwm = 0
            socket.rcvhwm = _MOST_UNREAD  # credit keeps writers below; strangers have none
            socket.linger = LINGER_MS
            socket.setsockopt(zmq.IPV6, 1)
            curve.set_heartbeat(socket, self._end.channel.lease)
            self._poller.register(socket, zmq.POLLIN)
        addresses = []
        for host in self._end.site.addresses:
            bracketed = f'[{host}]' if ':' in host else host
            ports = [
                socket.bind_to_random_port(f'tcp://{bracketed}')
                for socket in (self._control, self._data)
            ]
            addresses.append((host, ports[0], ports[1]))
        return addresses

    def _admits(self, key: str) -> bool:
        writers = self._end.rendezvous.view.of('writer')
        return any(writer.contact.get('key') == key for writer in writers)

    def read(self, timeout: float) -> Delivery | None:
        """See `LinkReader.read`."""
        delivery = self._receive()
        if delivery is not None:
            if self._acks_due >= _ACKS_AT_ONCE:
                self._send_due()
            return delivery
        self._send_due()
        for socket, _ in self._poller.poll(int(timeout * 1000)):
            if socket is self._control:
                self._serve()
        delivery = self._receive()
        if delivery is None and self._held and not self._dry:
            self._say_dry()
        return delivery if delivery is not None else self._late_end()

    def _say_dry(self) -> None:
        """The consumer waits for more before it settles what it has."""
        self._dry = True
        for source in self._sources.values():
            self._tell(source.control, control.DRY)

    def _receive(self) -> Delivery | None:
        """The next batch that is already here."""
        while has_input(self._data):
            frames = self._data.recv_multipart(copy=False)
            try:
                identity, head, body, *again = frames
                batch = decode_batch(head.bytes, body.buffer)
            except (IntegrityError, ValueError):
                # Anybody can speak to the data port; what is no batch is nothing.
                self._refused += 1
                continue
            delivery = self._deliver(identity.bytes, batch, again=bool(again))
            if delivery is not None:
                return delivery
        return None

    def _deliver(self, identity: bytes, batch: Batch, *, again: bool) -> Delivery | None:
        source = self._sources.get((batch.producer, batch.epoch))
        if source is None or source.data != identity:
            self._refused += 1
            return None
        if Flag.END in batch.flags:
            return self._end_once(batch)
        self._held += 1
        self._dry = False
        if not again:
            return Delivery(batch)
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
            case [control.HELLO, str(producer), int(epoch), bytes(data)]:
                before = self._sources.get((producer, epoch))
                owed = (before.acks, before.released) if before is not None else ([], [])
                self._sources[producer, epoch] = _Source(identity, data, *owed)
                spec = self._end.channel
                self._tell(identity, control.GRANT, spec.credit_messages, spec.credit_bytes)
            case [control.AGAIN, int(number), int(deliveries), bytes(mask)]:
                source = next((s for s in self._sources.values() if s.control == identity), None)
                if source is not None:
                    source.again[number] = (deliveries, control.mask_from_bytes(mask))

    def _tell(self, identity: bytes, kind: str, *fields: Any) -> None:
        self._control.send_multipart([identity, control.encode(kind, *fields)])

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
        for source in self._sources.values():
            if source.acks:
                self._tell(source.control, control.ACK, source.acks)
                source.acks = []
            for number, mask in source.released:
                self._tell(source.control, control.RELEASE, number, mask)
            source.released = []

    def mark(self, delivery: Delivery, settled: int) -> None:
        """See `LinkReader.mark`."""
        source = self._source(delivery)
        if source is not None:
            mask = control.mask_to_bytes(settled)
            self._tell(source.control, control.MARK, delivery.batch.number, mask)

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
        source = self._source(delivery)
        if source is not None:
            self._data.send(source.data, zmq.SNDMORE)
            self._data.send(batch.head, zmq.SNDMORE)
            send_body(self._data, batch.body)

    def pump(self) -> None:
        """See `LinkReader.pump`."""
        self._send_due()
        self._serve()

    def statistics(self) -> dict[str, int]:
        """See `LinkReader.statistics`: `refused` frames were no batches of a known writer."""
        return {'refused': self._refused}

    def close(self) -> None:
        """See `LinkReader.close`."""
        if self._closed:
            return
        self._closed = True
        for source in self._sources.values():
            # Released before the goodbye, a batch might be handed to this very reader again.
            for number, mask in source.released:
                self._tell(source.control, control.MARK, number, mask)
            source.released = []
        self._send_due()
        for source in self._sources.values():
            self._tell(source.control, control.BYE)
        self._free()

    def _free(self) -> None:
        self._control.close()
        self._data.close()
        self._context.give_back()
