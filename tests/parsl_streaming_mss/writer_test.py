"""The producer's end: fencing, sending again without storing twice, a full broker."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest

from parsl_streaming.errors import BrokerDataLost
from parsl_streaming.errors import BrokerUnavailable
from parsl_streaming.errors import ChannelClosed
from parsl_streaming.errors import ChannelFull
from parsl_streaming.errors import ProducerFenced
from parsl_streaming.seam import Flag
from parsl_streaming.spec import Pattern
from parsl_streaming_mss import ManagedStreaming
from parsl_streaming_mss.writer import ManagedWriter


class Proxy:
    """Passes bytes between an end and the broker, and can lose the broker's answers."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port = self._listener.getsockname()[1]
        self.mute = threading.Event()
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(('127.0.0.1', self._target))
            self._sockets += (near, far)
            self._start(self._pass, near, far)
            self._start(self._pass, far, near, self.mute)

    def _pass(
        self, source: socket.socket, sink: socket.socket, mute: threading.Event | None = None
    ) -> None:
        try:
            while data := source.recv(1 << 16):
                if mute is None or not mute.is_set():
                    sink.sendall(data)
        except OSError:
            return

    def cut(self) -> None:
        """Break every connection that passes through."""
        for sock in self._sockets[1:]:
            shut(sock)

    def close(self) -> None:
        for sock in self._sockets:
            shut(sock)
        for thread in self._threads:
            thread.join()
        for sock in self._sockets:
            sock.close()


def shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


@pytest.fixture
def proxy() -> Iterator[Callable[[int], Proxy]]:
    proxies: list[Proxy] = []

    def make(port: int) -> Proxy:
        proxies.append(Proxy(port))
        return proxies[-1]

    yield make
    for each in proxies:
        each.close()


def test_a_window_sent_again_is_stored_once(stage: Any, tools: Any, proxy: Any) -> None:
    here = stage()
    here.declare('r')
    between = proxy(here.provision.public['port'])
    here.through(between.port)
    writer = here.writer()
    tools.store(writer, tools.make_batch(1))
    between.mute.set()
    for i in (2, 3):
        writer.write(tools.make_batch(i, bytes(300_000)), 1)
    tools.settle_down(
        lambda: here.admin('XLEN', writer._streams[0]) >= 2, lambda: writer.pump(0.01)
    )
    assert (tools.waiting(writer), writer.safe) == (2, 1)
    between.mute.clear()
    between.cut()
    tools.settle_down(lambda: tools.waiting(writer) == 0, lambda: writer.pump(0.05))
    assert writer.statistics()['reconnections'] == 1
    assert here.admin('XLEN', writer._streams[0]) == 3
    assert tools.numbers(tools.take(here.reader(), 3)) == [1, 2, 3]


def test_a_reader_whose_answers_are_lost_gets_the_batches_again(
    stage: Any, tools: Any, proxy: Any
) -> None:
    here = stage(lease=30)
    here.declare('r')
    writer = here.writer()
    between = proxy(here.provision.public['port'])
    here.through(between.port)
    reader = here.reader()
    tools.store(writer, tools.make_batch(1))
    between.mute.set()
    assert [reader.read(0.1) for _ in range(3)] == [None] * 3
    between.mute.clear()
    between.cut()
    (got,) = tools.take(reader, 1)
    tools.acknowledge(reader, [got])
    assert here.admin('XLEN', writer._streams[0]) == 0


def test_settlements_survive_a_cut_connection(stage: Any, tools: Any, proxy: Any) -> None:
    here = stage(lease=30, pattern=Pattern.FEEDBACK)
    here.declare('r')
    between = proxy(here.provision.public['port'])
    writer = here.writer()
    here.through(between.port)
    reader = here.reader()
    tools.store(writer, tools.make_batch(1))
    (got,) = tools.take(reader, 1)
    between.cut()
    reader.reply(got, tools.make_batch(1, b'answer', flags=Flag.REPLY))
    tools.acknowledge(reader, [got])
    tools.settle_down(lambda: writer._inbox.pump(0.1), lambda: None)
    assert here.admin('XLEN', writer._streams[0]) == 0


def test_a_newer_epoch_fences_the_older(stage: Any, tools: Any) -> None:
    here = stage()
    here.declare('r')
    old = here.writer()
    tools.store(old, tools.make_batch(1))
    new = here.writer(epoch=1)
    tools.store(new, tools.make_batch(1, epoch=1))
    with pytest.raises(ProducerFenced, match='took over'):
        tools.store(old, tools.make_batch(2))
    with pytest.raises(ProducerFenced):
        old.pump(0)
    with pytest.raises(ProducerFenced, match='must stop'):
        here.writer(epoch=0)
    got = tools.take(here.reader(), 2)
    assert sorted(each.batch.epoch for each in got) == [0, 1]


def test_a_fenced_writer_cannot_end_the_stream(stage: Any, tools: Any) -> None:
    here = stage()
    old = here.writer()
    here.writer(epoch=1)
    end = tools.make_batch(1, b'', flags=Flag.END, count=0)
    with pytest.raises(ProducerFenced):
        tools.store(old, end)
    assert here.admin('EXISTS', old._access.keys.ends) == 0


def test_another_producer_is_not_fenced(stage: Any, tools: Any) -> None:
    here = stage()
    one = here.writer('p')
    here.writer('p:1', epoch=3)
    tools.store(one, tools.make_batch(1))
    assert tools.waiting(one) == 0


def fill(writer: ManagedWriter, tools: Any) -> None:
    for i in range(1, 100):
        writer.write(tools.make_batch(i, bytes(1_000_000)), 0.3)


def test_a_full_broker_refuses_and_goes_on_when_there_is_room(stage: Any, tools: Any) -> None:
    small = ManagedStreaming(maxmemory_bytes=24 << 20)
    try:
        here = stage(architecture=small)
        here.declare('r')
        writer, reader = here.writer(), here.reader()
        with pytest.raises(ChannelFull, match='OOM'):
            fill(writer, tools)
        sent = writer._ledger._next - 1
        got = []

        def work() -> None:
            if (delivery := reader.read(0.1)) is not None:
                got.append(delivery.batch.number)
                reader.acknowledge(delivery)
            writer.pump(0.01)

        tools.settle_down(lambda: len(got) == sent and not tools.waiting(writer), work)
        assert got == list(range(1, sent + 1))
    finally:
        here.close()
        here.ends.clear()
        small.close()


def test_room_tells_whether_a_reader_is_idle(stage: Any, tools: Any) -> None:
    here = stage()
    here.declare('a', 'b')
    writer = here.writer()
    assert writer.room().idle
    tools.store(writer, tools.make_batch(1))
    assert writer.room().idle
    tools.store(writer, tools.make_batch(2))
    assert not writer.room().idle


def test_a_broker_that_does_not_come_back_is_reported(
    stage: Any, tools: Any, proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = stage()
    between = proxy(here.provision.public['port'])
    here.through(between.port)
    writer = here.writer()
    monkeypatch.setattr('parsl_streaming_mss.line.PATIENCE', 0.2)
    between.close()
    writer.write(tools.make_batch(1), 1)
    with pytest.raises(BrokerUnavailable, match='check that it runs'):
        tools.settle_down(lambda: tools.waiting(writer) == 0, lambda: writer.pump(0.1))


def test_a_broker_that_went_back_in_time_is_reported(stage: Any, tools: Any, proxy: Any) -> None:
    here = stage()
    between = proxy(here.provision.public['port'])
    here.through(between.port)
    writer = here.writer()
    tools.store(writer, tools.make_batch(1))
    writer._tops[writer._streams[0]] = '9999999999999-7'
    between.cut()
    with pytest.raises(BrokerDataLost, match='emptied'):
        tools.store(writer, tools.make_batch(2))


def test_a_closed_writer_says_so(stage: Any, tools: Any) -> None:
    writer: ManagedWriter = stage().writer()
    writer.close()
    writer.close()
    with pytest.raises(ChannelClosed):
        writer.write(tools.make_batch(1), 0)
