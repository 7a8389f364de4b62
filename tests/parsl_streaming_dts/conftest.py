"""Direct links with hand-made batches in place of the core, and a view in place of the registry."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from parsl_streaming.packing import OpenBatch
from parsl_streaming.packing import Packer
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Delivery
from parsl_streaming.seam import EndContext
from parsl_streaming.seam import Flag
from parsl_streaming.seam import Member
from parsl_streaming.seam import View
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Site
from parsl_streaming_dts import DirectStreaming
from parsl_streaming_dts.reader import DirectReader
from parsl_streaming_dts.writer import DirectWriter

CHANNEL = b'channel!'
PATIENCE = 10.0


class Rendezvous:
    """One end's connection to the stage's membership."""

    def __init__(self, stage: Stage, role: str, name: str) -> None:
        self._stage = stage
        self._place = (role, name)

    @property
    def view(self) -> View:
        return self._stage.view

    def announce(self, contact: Mapping[str, Any]) -> None:
        self._stage.change(*self._place, state='open', contact=dict(contact))

    def bury(self, letter: Batch) -> None:
        self._stage.letters.append(letter)


class Stage:
    """Both ends of direct links in this process."""

    def __init__(self, **spec: Any) -> None:
        values: dict[str, Any] = {'name': 'c', 'source': 'a', 'target': 'a', 'lease': 0.4} | spec
        self.channel = ChannelSpec(**values)
        self.site = Site(name='a')
        self.view = View()
        self.letters: list[Batch] = []
        self.links: list[DirectReader | DirectWriter] = []
        self._packers: dict[str, Packer] = {}

    def change(self, role: str, name: str, **fields: Any) -> None:
        """Set what the view says of an end."""
        members = {(m.role, m.name): m for m in self.view.members}
        members[role, name] = replace(members[role, name], **fields)
        self._show(tuple(members.values()), self.view.partitions)

    def _show(self, members: tuple[Member, ...], partitions: Any) -> None:
        self.view = View(self.view.version + 1, members, partitions)

    def deal(self, group: str, *holders: str) -> None:
        self._show(self.view.members, {group: list(holders)})

    def declare(self, role: str, name: str, group: str, epoch: int) -> None:
        others = [m for m in self.view.members if (m.role, m.name) != (role, name)]
        self._show((*others, Member(name, role, epoch, group)), self.view.partitions)

    def _end(self, role: str, name: str, group: str, epoch: int) -> EndContext:
        self.declare(role, name, group, epoch)
        rendezvous = Rendezvous(self, role, name)
        return EndContext(self.channel, self.site, name, epoch, group, None, {}, {}, rendezvous)

    def reader(self, name: str = 'r', group: str = 'g', epoch: int = 1) -> DirectReader:
        link = DirectStreaming().open_reader(self._end('reader', name, group, epoch))
        self.links.append(link)
        return link

    def writer(self, name: str = 'p', epoch: int = 1) -> DirectWriter:
        link = DirectStreaming().open_writer(self._end('writer', name, '', epoch))
        self.links.append(link)
        return link

    def batch(self, *values: bytes, name: str = 'p', partition: int = 0) -> Batch:
        packer = self._packers.setdefault(name, Packer(name, 1, CHANNEL, None))
        opened = OpenBatch()
        for value in values or (b'x',):
            opened.add(value, (0, None, None, None, None))
        return packer.pack(opened, partition)

    def end(self, name: str = 'p') -> Batch:
        packer = self._packers.setdefault(name, Packer(name, 1, CHANNEL, None))
        return packer.pack_end(Flag.NONE)

    def until(self, happened: Callable[[], Any], *steps: Callable[[], Any]) -> None:
        """Move the links along until something holds."""
        limit = time.monotonic() + PATIENCE
        while not happened():
            assert time.monotonic() < limit, 'it did not happen in time'
            for step in steps or (lambda: time.sleep(0.005),):
                step()

    def connect(self, writer: DirectWriter, *readers: DirectReader) -> None:
        """Until the writer has met them."""
        self.until(
            lambda: sum(peer.greeted for peer in writer._peers.values()) >= len(readers),
            lambda: writer.pump(0.005),
            *(reader.pump for reader in readers),
        )

    def take(self, reader: DirectReader, writer: DirectWriter) -> Delivery:
        """The reader's next delivery."""
        found: list[Delivery] = []

        def step() -> None:
            writer.pump(0.0)
            delivery = reader.read(0.01)
            if delivery is not None:
                found.append(delivery)

        self.until(lambda: found, step)
        return found[0]

    def close(self) -> None:
        for link in self.links:
            link.close()


class Relay:
    """A port that leads to another, until the connections through it are cut."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server = socket.create_server(('127.0.0.1', 0))
        self.port: int = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(('127.0.0.1', self._target))
            except OSError:  # nobody listens there any more
                near.close()
                continue
            self._open += [near, far]
            for pair in ((near, far), (far, near)):
                self._threads.append(threading.Thread(target=self._copy, args=pair))
                self._threads[-1].start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        while self._open:
            each = self._open.pop()
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._threads[0].join()
        self.cut()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def relay() -> Iterator[Callable[[int], Relay]]:
    made: list[Relay] = []

    def make(target: int) -> Relay:
        made.append(Relay(target))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def stage() -> Iterator[Callable[..., Stage]]:
    made: list[Stage] = []

    def make(**spec: Any) -> Stage:
        made.append(Stage(**spec))
        return made[-1]

    yield make
    for each in made:
        each.close()
