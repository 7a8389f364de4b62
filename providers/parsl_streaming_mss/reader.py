"""The consumer's end: one group read over all streams, settlement ahead of the next read."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any
from typing import Final

from parsl_streaming.errors import ChannelClosed
from parsl_streaming.errors import IntegrityError
from parsl_streaming.errors import StreamingError
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Delivery
from parsl_streaming.seam import EndContext
from parsl_streaming_mss.access import Access
from parsl_streaming_mss.directory import Directory
from parsl_streaming_mss.entry import add_command
from parsl_streaming_mss.entry import batch_of
from parsl_streaming_mss.errors import broker_error
from parsl_streaming_mss.lease import Leases
from parsl_streaming_mss.line import Line
from parsl_streaming_mss.line import ignore
from parsl_streaming_mss.outbox import Outbox
from parsl_streaming_mss.outbox import Token
from parsl_streaming_mss.pace import FETCH_BYTES
from parsl_streaming_mss.pace import Pace
from parsl_streaming_mss.resp import Argument
from parsl_streaming_mss.resp import ErrorReply
from parsl_streaming_mss.succession import Succession
from parsl_streaming_mss.succession import in_order

LONGEST_WAIT: Final = 0.1
_BREATH: Final = 0.002
_GRACE: Final = 0.05
_CLOSE_TIMEOUT: Final = 2.0


class ManagedReader:
    """Reads the batches of a channel for one member of a group.

    Args:
        end: What to open.
        access: The channel's place in the broker.

    Raises:
        StreamingError: The broker cannot be used.
    """

    def __init__(self, end: EndContext, access: Access) -> None:
        self._end = end
        self._access = access
        # A retried task is another consumer: what its dead self held is claimed, not inherited.
        self._consumer = f'{end.name}:{end.epoch}'
        self._failure: StreamingError | None = None
        self._damaged: IntegrityError | None = None
        self._ready: deque[Delivery] = deque()
        self._fetching = False
        self._flowing = False
        self._low = 0
        self._pace = Pace()
        self._names: dict[bytes, str] = {}
        self._counts = {'delivered': 0, 'refused': 0}
        self._line = Line(access.endpoint, self._restore, buffer_bytes=FETCH_BYTES)
        self._share = not in_order(end)
        try:
            self._equip()
            self._open()
        except BaseException:
            self._line.close()
            raise

    def _equip(self) -> None:
        end, where = self._end, (self._line, self._access)
        me = (end.group, self._consumer)
        self._outbox = Outbox(self._access, *me, keep=end.channel.replay, share=self._share)
        self._leases = Leases(*where, *me, end.channel.lease, in_order=not self._share)
        self._succession = Succession(*where, end, self._consumer, self._leases)
        self._directory = Directory(*where, end, self._succession.enter)

    def _open(self) -> None:
        keys, group = self._access.keys, self._end.group
        extras = [keys.marks(group), keys.released(group)]
        self._line.add(self._check, ['SADD', keys.extras, *extras])
        self._directory.look(self._deliver_end, idle=True)
        self._settle_down(_CLOSE_TIMEOUT)

    def _settle_down(self, timeout: float) -> None:
        """Exchange until every reply has come, and what the replies asked for."""
        deadline = time.monotonic() + timeout
        while self._line.busy and time.monotonic() < deadline:
            self._turn(LONGEST_WAIT)

    def _turn(self, timeout: float) -> bool:
        if self._failure:
            raise self._failure
        try:
            return self._line.exchange(timeout)
        except IntegrityError:
            raise  # One bad entry must not end the reader: the others are good.
        except StreamingError as error:
            self._failure = error
            raise

    def _check(self, reply: Any) -> None:
        if isinstance(reply, ErrorReply):
            name, where = self._end.channel.name, self._line.endpoint
            raise broker_error(reply, f'reading channel {name!r} from the broker at {where}')

    def read(self, timeout: float) -> Delivery | None:
        """The next batch of this reader's group, or an END batch, or `None`.

        Args:
            timeout: Longest wait in seconds (at most 0.1).

        Raises:
            IntegrityError: A stored batch is damaged; it stays in the broker, and reading goes on.
            BrokerDataLost: A stream or the group is gone.
            BrokerUnavailable: The broker has been gone for too long.
        """
        self._pace.asked()
        if not self._ready:
            self._fetch(min(timeout, LONGEST_WAIT))
        elif self._flowing and not self._fetching and len(self._ready) <= self._low:
            self._look_ahead()
        if self._damaged:
            error, self._damaged = self._damaged, None
            raise error
        if not self._ready:
            return None
        delivery = self._ready.popleft()
        self._pace.handed(delivery.batch.nbytes)
        self._counts['delivered'] += 1
        return delivery

    def _fetch(self, timeout: float) -> None:
        """Ask for more: first for what is there, then, if that is nothing, by waiting."""
        deadline = time.monotonic() + timeout
        if not self._fetching:
            self._send_due(idle=False)
            if not self._leases.claim(self._deliver):
                if self._share:
                    self._leases.take_released()
                # In a steady flow a short wait here saves a second request.
                self._request(min(timeout, _BREATH) if self._flowing else 0.0)
        self._await(deadline)
        if self._ready or self._line.busy:
            return
        self._send_due(idle=True)
        self._await(deadline)
        self._leases.claim(self._deliver)
        left = min(deadline - time.monotonic(), self._succession.patience)
        if not self._ready and left > 0 and not self._request(left):
            time.sleep(min(left, 0.02))
        self._await(deadline + _GRACE)

    def _look_ahead(self) -> None:
        """Ask for more while there still is something at hand: the broker works meanwhile."""
        self._tell()
        self._request(0.0)
        self._turn(0.0)

    def _await(self, deadline: float) -> None:
        """Exchange until every reply has come, or there is something to hand out."""
        while self._line.busy:
            left = deadline - time.monotonic()
            self._turn(max(0.0, left))
            if left <= 0 or (self._ready and not self._fetching):
                return

    def _send_due(self, *, idle: bool) -> None:
        self._tell()
        self._leases.search(self._readable())
        self._directory.look(self._deliver_end, idle=idle)

    def _tell(self) -> None:
        self._outbox.flush(self._line)
        self._leases.renew()
        if self._outbox.told:
            self._succession.serve(self._directory.mine())

    def _readable(self) -> list[str]:
        return self._succession.readable(self._directory.mine())

    def _request(self, wait: float) -> bool:
        """Send the group read; without streams there is nothing to read."""
        streams = self._readable()
        if not streams:
            return False
        count = self._pace.count(len(streams))
        command: list[Argument] = ['XREADGROUP', 'GROUP', self._end.group, self._consumer]
        command += ['COUNT', count]
        if wait > 0:
            command += ['BLOCK', max(1, int(wait * 1000))]
        command += ['STREAMS', *streams, *('>' for _ in streams)]
        self._fetching = True
        self._line.add(self._on_entries, command)
        return True

    def _on_entries(self, reply: Any) -> None:
        self._fetching = False
        self._check(reply)
        self._flowing = bool(reply)
        self._low = sum(len(entries) for _, entries in reply or ()) // 2
        for key, entries in reply or ():
            stream = self._names.get(key) or self._names.setdefault(key, key.decode())
            for entry_id, fields in entries:
                self._take(fields, (stream, entry_id.decode()))

    def _take(self, fields: list[Any], token: Token) -> None:
        try:
            self._deliver(Delivery(batch_of(fields), 1, 0, token))
        except IntegrityError as error:
            self._damaged = error

    def _deliver(self, delivery: Delivery) -> None:
        self._leases.held[delivery.token] = delivery
        self._ready.append(delivery)

    def _deliver_end(self, batch: Batch) -> None:
        self._ready.append(Delivery(batch))

    def _holds(self, delivery: Delivery) -> bool:
        """Whether the delivery is still this reader's; a lost one is somebody else's now."""
        return self._leases.held.get(delivery.token) is delivery

    def _let_go(self, delivery: Delivery, then: Callable[[], None]) -> None:
        if self._holds(delivery):
            del self._leases.held[delivery.token]
            then()
        elif delivery.token is not None:
            self._counts['refused'] += 1

    def acknowledge(self, delivery: Delivery) -> None:
        """Every message of the delivery is settled; sent with the next read or `pump`."""
        batch = delivery.batch
        self._let_go(
            delivery, lambda: self._outbox.settle(delivery.token, batch.count, batch.nbytes)
        )

    def mark(self, delivery: Delivery, settled: int) -> None:
        """Record which messages need no redelivery, should this consumer die."""
        delivery.settled = settled
        if self._holds(delivery):
            self._outbox.mark(delivery.token, delivery.settled)

    def release(self, delivery: Delivery, settled: int) -> None:
        """Give the delivery back, at once; another reader gets it at its next read."""
        delivery.settled = settled
        self._let_go(delivery, lambda: self._give_back(delivery, delivery.deliveries))
        if delivery.token is not None:
            self._succession.released(delivery.token[0])
        self.pump()

    def _give_back(self, delivery: Delivery, deliveries: int) -> None:
        self._outbox.release(delivery.token, deliveries, delivery.settled)

    def extend(self, delivery: Delivery) -> None:
        """The consumer is still working on it; sent at once."""
        if self._holds(delivery):
            self._leases.renew(now=True)

    def bury(self, delivery: Delivery, letter: Batch) -> None:
        """Store a dead letter, in one transaction with what is settled next."""
        if self._holds(delivery):
            self._outbox.letter(add_command(self._access.keys.dead, '*', letter))

    def reply(self, delivery: Delivery, batch: Batch) -> None:
        """Send replies to the delivery's producer, in one transaction with what is settled next."""
        key = self._access.keys.replies(delivery.batch.producer, delivery.batch.epoch)
        self._outbox.letter(add_command(key, '*', batch))

    def pump(self) -> bool:
        """Renew the leases and send what is due; never waits for an answer."""
        if not self._fetching:
            self._tell()
        self._turn(0.0)
        return False

    def statistics(self) -> dict[str, int]:
        """Counters: `delivered`, `redelivered`, `lost` leases, `refused` late settlements."""
        leases = {'redelivered': self._leases.redelivered, 'lost': self._leases.lost}
        return self._counts | leases | {'reconnections': self._line.reconnections}

    def _restore(self) -> None:
        """After a new connection: settle again, and find what was on its way here."""
        self._fetching = False
        if not self._access.scripts.functions:
            for command in self._access.scripts.load():
                self._line.add(ignore, command)
        self._outbox.restore()
        self._outbox.flush(self._line)
        self._leases.restore()
        self._leases.recover(self._directory.grouped)
        self._directory.restore()
        self._succession.restore()

    def close(self) -> None:
        """Give back what is not settled, send what is due, free everything; idempotent."""
        handed_out = {id(delivery) for delivery in self._leases.held.values()}
        handed_out -= {id(delivery) for delivery in self._ready}
        for delivery in list(self._leases.held.values()):
            undelivered = id(delivery) not in handed_out
            self._give_back(delivery, delivery.deliveries - undelivered)
        self._leases.held.clear()
        self._ready.clear()
        if not self._failure:
            self._send_last()
        self._line.close()
        name, channel = self._end.name, self._end.channel.name
        closed = ChannelClosed(f'the reader {name!r} of channel {channel!r} is closed')
        self._failure = self._failure or closed

    def _send_last(self) -> None:
        deadline = time.monotonic() + _CLOSE_TIMEOUT
        try:
            while not self._outbox.empty and time.monotonic() < deadline:
                self._outbox.flush(self._line)
                self._turn(LONGEST_WAIT)
        except StreamingError:
            return  # What could not be given back is claimed when the lease has run out.
