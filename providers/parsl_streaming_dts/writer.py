"""The producer's end of a direct link."""

from __future__ import annotations

import time
from typing import Final

import zmq

from parsl_streaming import curve
from parsl_streaming.errors import ChannelFull
from parsl_streaming.errors import IntegrityError
from parsl_streaming.ledger import Ledger
from parsl_streaming.ledger import owing
from parsl_streaming.seam import Batch
from parsl_streaming.seam import EndContext
from parsl_streaming.seam import Flag
from parsl_streaming.seam import Member
from parsl_streaming.seam import Room
from parsl_streaming.seam import View
from parsl_streaming.spec import Pattern
from parsl_streaming.wire import decode_batch
from parsl_streaming_dts import contexts
from parsl_streaming_dts import control
from parsl_streaming_dts.peer import Peer
from parsl_streaming_dts.peer import has_input
from parsl_streaming_dts.stream import linger

_POLL: Final = 0.1
_POLL_ALONE: Final = 0.01
"""Shorter while there is no reader: news of one comes through the registry."""
_AGAIN: Final = 0.02
_LOOK_SECONDS: Final = 0.005
_IN: Final = int(zmq.POLLIN)
_OUT: Final = int(zmq.POLLOUT)
_GRACE: Final = 1.0
"""Seconds in which a reader whose connection broke may come back."""


class DirectWriter:
    """Keeps every batch until each group settled it; hands it to one reader per group."""

    def __init__(self, end: EndContext) -> None:
        curve.require_libzmq()
        self._end = end
        self._keys = curve.KeyPair.new()
        self._context = contexts.borrow()
        self._poller = zmq.Poller()
        self._ledger = Ledger()
        self._peers: dict[str, Peer] = {}
        self._by_socket: dict[zmq.Socket[bytes] | int, Peer] = {}
        self._looked = 0.0
        self._replies: list[Batch] = []
        self._seen = -1
        self._view: View | None = None
        self._owing: list[str] = []
        self._waiting = False
        self._closed = False
        end.rendezvous.announce({'key': self._keys.public})

    @property
    def floor(self) -> int:
        """See `LinkWriter.floor`."""
        return self._ledger.floor

    @property
    def safe(self) -> int:
        """See `LinkWriter.safe`."""
        return self._ledger.floor - 1

    def room(self) -> Room:
        """See `LinkWriter.room`: what the tightest group's roomiest reader takes."""
        rooms = [self._room_of(group) for group in self._groups()]
        if not rooms:
            return Room(0, 0, idle=False)
        return Room(
            min(room.messages for room in rooms),
            min(room.nbytes for room in rooms),
            idle=all(room.idle for room in rooms),
        )

    def _groups(self) -> list[str]:
        view = self._end.rendezvous.view
        if view is not self._view:  # replaced as a whole: worth remembering what follows from it
            self._view, self._owing = view, owing(view, self._end.channel.pattern)
        return self._owing

    def _room_of(self, group: str) -> Room:
        peers = self._ready(group)
        if not peers or self._ledger.queue(group):
            return Room(0, 0, idle=False)
        messages, nbytes = max(peer.account.room() for peer in peers)
        return Room(messages, nbytes, idle=any(peer.account.idle for peer in peers))

    def _ready(self, group: str) -> list[Peer]:
        return [p for p in self._peers.values() if p.group == group and p.is_ready]

    def write(self, batch: Batch, timeout: float) -> None:
        """See `LinkWriter.write`."""
        if Flag.END in batch.flags:
            self._write_end(batch)
            return
        limit = time.monotonic() + timeout
        while (takers := self._takers(batch)) is None:
            if (left := limit - time.monotonic()) <= 0:
                raise ChannelFull(self._why_full(timeout))
            self.pump(min(_POLL, left), waiting=True)
        self._ledger.add(batch, takers)
        for group, peer in takers.items():
            peer.send(self._ledger.hand_out(batch.number, group, peer.name))

    def _takers(self, batch: Batch) -> dict[str, Peer] | None:
        """A reader of each group with credit for the batch; `None` if one has to wait."""
        takers: dict[str, Peer] = {}
        for group in self._groups():
            peer = None if self._ledger.queue(group) else self._choose(group, batch)
            if peer is None:
                return None
            takers[group] = peer
        return takers or None

    def _choose(self, group: str, batch: Batch) -> Peer | None:
        """The reader with the least in flight that has credit for the batch."""
        ready = [p for p in self._ready(group) if p.account.fits(batch.count, batch.nbytes)]
        if self._end.channel.pattern is Pattern.SHUFFLE:
            holders = self._end.rendezvous.view.partitions.get(group, [])
            ready = [p for p in ready if holders and holders[batch.partition] == p.name]
            # A partition changes hands when its former holder is done: order is kept.
            ready = [p for p in ready if not self._ledger.is_elsewhere(batch, group, p.name)]
        return min(ready, key=lambda p: (p.account.messages, p.account.nbytes), default=None)

    def _why_full(self, timeout: float) -> str:
        groups = self._groups()
        without = [group for group in groups if not self._ready(group)]
        name = self._end.channel.name
        if not groups or without:
            which = f'group {", ".join(without)}' if without else 'any group'
            return (
                f'channel {name!r}: no reader of {which} is connected after {timeout:.3g} s; '
                'submit its readers, and look at what became of those that were'
            )
        return f'channel {name!r}: its readers gave no credit within {timeout:g} s; they are slower'

    def _write_end(self, batch: Batch) -> None:
        """Everything is settled by now; readers that come later find it at the registry."""
        self._ledger.add(batch, [])
        for peer in self._peers.values():
            peer.send_raw(batch)

    def _hand_out(self) -> None:
        for group in self._groups():
            held_up: set[int] = set()
            for number in list(self._ledger.queue(group)):
                batch = self._ledger.entries[number].batch
                peer = None if batch.partition in held_up else self._choose(group, batch)
                if peer is None:
                    held_up.add(batch.partition)  # later batches must not overtake
                else:
                    peer.send(self._ledger.hand_out(number, group, peer.name))

    def pump(self, timeout: float, *, waiting: bool = False) -> None:
        """See `LinkWriter.pump`."""
        self._waiting = waiting
        self._follow_view()
        if timeout > 0 or time.monotonic() - self._looked > _LOOK_SECONDS:
            self._look(timeout)
        else:
            self._glance()
        for peer in [p for p in self._peers.values() if p.is_hurt]:
            self._mend(peer)
        for peer in self._peers.values():
            if peer.dry and (waiting or self._ledger.queue(peer.group)):
                peer.widen()
        self._hand_out()

    def _look(self, timeout: float) -> None:
        """Wait until something comes, and handle it."""
        for each in self._peers.values():
            self._poller.register(each.data.fileno(), _IN | _OUT if each.data.pending else _IN)
        wait = timeout if self._peers else min(timeout, _POLL_ALONE)
        for socket, _ in self._poller.poll(int(wait * 1000)):
            if (peer := self._by_socket.get(socket)) is not None:
                self._serve(peer, socket)
        self._looked = time.monotonic()

    def _glance(self) -> None:
        """What passes with every batch: credit that came back, and data that waits to leave."""
        for peer in list(self._peers.values()):
            if peer.data.pending:
                peer.data.push()
            if has_input(peer.control):
                self._listen(peer)

    def _serve(self, peer: Peer, socket: zmq.Socket[bytes] | int) -> None:
        if socket is peer.monitor:
            if peer.read_monitor() == 'refused':
                # The reader may not have heard of our key yet: meet it anew in a moment.
                peer.lost_at = time.monotonic() - _GRACE + _AGAIN
        elif socket is peer.control:
            self._listen(peer)
        else:
            peer.data.push()
            self._receive_replies(peer)

    def _listen(self, peer: Peer) -> None:
        while has_input(peer.control):
            if not self._handle(peer, control.decode(peer.control.recv())):
                return

    def _receive_replies(self, peer: Peer) -> None:
        while (frame := peer.data.read()) is not None:
            try:
                batch = decode_batch(frame.head, frame.body)
            except IntegrityError:
                continue  # What is no batch is nothing.
            self._replies.append(batch)
            peer.confirm(batch.number)

    def _mend(self, peer: Peer) -> None:
        """A connection was lost: connect again, or give up after a while."""
        now = time.monotonic()
        peer.lost_at = peer.lost_at or now
        if now - peer.lost_at > min(_GRACE, self._end.channel.lease):
            self._drop(peer)
            self._seen = -1  # it may come back: meet it anew
        elif peer.is_back:
            peer.greet_again()
        elif peer.data.broken and now - peer.dialled_at > _AGAIN:
            self._receive_replies(peer)
            self._forget(peer.data.fileno())
            peer.data.close()
            peer.dial()
            self._watch(peer, peer.data.fileno())

    def _watch(self, peer: Peer, *sockets: zmq.Socket[bytes] | int) -> None:
        for socket in sockets:
            self._poller.register(socket, zmq.POLLIN)
            self._by_socket[socket] = peer

    def _forget(self, *sockets: zmq.Socket[bytes] | int) -> None:
        for socket in sockets:
            self._poller.unregister(socket)
            del self._by_socket[socket]

    def _handle(self, peer: Peer, message: list[object]) -> bool:
        """Act on a control message; says whether the peer is still there."""
        match message:
            case [control.ACK, list(numbers)]:
                for number in numbers:
                    if isinstance(number, int):
                        self._settle(peer, number)
            case [control.GRANT, int(messages), int(nbytes)]:
                peer.grant(messages, nbytes)
                if peer.is_answered:
                    self._resume(peer)
            case [control.MARK, int(number), bytes(mask)]:
                settled = control.mask_from_bytes(mask)
                self._ledger.mark(number, peer.group, peer.name, settled)
            case [control.RELEASE, int(number), bytes(mask)]:
                self._take_back(peer, number, control.mask_from_bytes(mask))
            case [control.DRY]:
                peer.dry = True
            case [control.BYE]:
                self._receive_replies(peer)  # all of them have reached this host
                self._drop(peer)
                return False
        return True

    def _settle(self, peer: Peer, number: int) -> None:
        entry = self._ledger.settle(number, peer.group, peer.name)
        if entry is not None:
            peer.account.give_back(entry.batch.count, entry.batch.nbytes)
            if peer.account.idle and (self._waiting or self._ledger.queue(peer.group)):
                peer.widen()

    def _take_back(self, peer: Peer, number: int, settled: int) -> None:
        self._ledger.mark(number, peer.group, peer.name, settled)
        entry = self._ledger.take_back(number, peer.group, peer.name)
        if entry is not None:
            peer.account.give_back(entry.batch.count, entry.batch.nbytes)

    def _resume(self, peer: Peer) -> None:
        """The same reader is back in time: send again what it may not have got."""
        held = self._ledger.held_by(peer.name)
        peer.resume([self._ledger.entries[n] for n, group in held if group == peer.group])

    def _drop(self, peer: Peer) -> None:
        """The reader is gone: what it held goes to another of its group."""
        if self._peers.get(peer.name) is not peer:
            return
        self._ledger.lose(peer.name)
        del self._peers[peer.name]
        self._forget(peer.control, peer.monitor, peer.data.fileno())
        peer.close(linger=False)
        self._forgive(peer.group)

    def _follow_view(self) -> None:
        view = self._end.rendezvous.view
        if view.version == self._seen:
            return
        self._seen = view.version
        for member in view.of('reader'):
            peer = self._peers.get(member.name)
            if peer is not None and _is_over(peer, member):
                if peer.may_speak(_GRACE):
                    self._seen = -1  # look again soon
                    continue
                self._drop(peer)
                peer = None
            if peer is None and member.state == 'open' and 'key' in member.contact:
                self._meet(member)
        for group in view.groups:
            self._forgive(group)

    def _meet(self, member: Member) -> None:
        peer = self._peers[member.name] = Peer(self._context.zmq, self._keys, self._end, member)
        self._watch(peer, peer.control, peer.monitor, peer.data.fileno())

    def _forgive(self, group: str) -> None:
        """A reader of a broadcast that left takes nothing more; the others go on."""
        if group not in self._groups() and not self._ready(group):
            self._ledger.forgive(group)

    def replies(self) -> list[Batch]:
        """See `LinkWriter.replies`."""
        replies, self._replies = self._replies, []
        return replies

    def statistics(self) -> dict[str, int]:
        """See `LinkWriter.statistics`."""
        return {'redelivered': self._ledger.returned, 'readers': len(self._peers)}

    def close(self) -> None:
        """See `LinkWriter.close`."""
        if self._closed:
            return
        self._closed = True
        linger([peer.data for peer in self._peers.values()])
        for peer in self._peers.values():
            peer.close(linger=True)
        self._context.give_back()


def _is_over(peer: Peer, member: Member) -> bool:
    if member.state == 'closed':
        # One that greeted us says goodbye itself, after its last acknowledgements.
        return not peer.greeted
    return peer.epoch < member.epoch or member.state == 'failed'
