"""Channels in a real embedded broker, with hand-made batches in place of the core."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Any

import pytest

from parsl_streaming.seam import Batch
from parsl_streaming.seam import Delivery
from parsl_streaming.seam import EndContext
from parsl_streaming.seam import Flag
from parsl_streaming.seam import Member
from parsl_streaming.seam import View
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Site
from parsl_streaming.wire import NO_SALT
from parsl_streaming.wire import Header
from parsl_streaming.wire import checked
from parsl_streaming.wire import encode_head
from parsl_streaming_mss import ManagedStreaming
from parsl_streaming_mss.connect import connect

SITE = Site(name='here')


def make_batch(number: int, body: bytes = b'body', **fields: Any) -> Batch:
    """A batch of one message, as the core would make it."""
    values = {'flags': Flag.NONE, 'partition': 0, 'epoch': 0, 'count': 1, 'producer': 'p'} | fields
    header = Header(
        number=number, seq=number, floor=0, sent=0.0, channel=bytes(8), salt=NO_SALT, **values
    )
    head = checked(encode_head(header, b'', len(body)), body, sealed=False)
    return Batch(
        header.producer,
        header.epoch,
        number,
        header.count,
        header.partition,
        header.flags,
        head,
        body,
    )


@dataclass
class FakeRendezvous:
    view: View = field(default_factory=View)

    def announce(self, contact: Any) -> None:
        raise NotImplementedError


class Stage:
    """A channel, its ends, and the registry's view of them."""

    def __init__(self, architecture: ManagedStreaming, **spec: Any) -> None:
        defaults = {'name': 'frames', 'source': 'here', 'target': 'here', 'lease': 0.6}
        self.channel = ChannelSpec(**defaults | spec)
        self.architecture = architecture
        self.provision = architecture.provision(self.channel, SITE, SITE)
        self.rendezvous = FakeRendezvous()
        self.ends: list[Any] = []

    def declare(self, *readers: str, partitions: dict[str, list[str]] | None = None) -> None:
        """Declare readers, each as `name` (group `g`) or `name@group`."""
        members = []
        for reader in readers:
            name, _, group = reader.partition('@')
            members.append(Member(name, 'reader', group=group or 'g'))
        version = self.rendezvous.view.version + 1
        self.rendezvous.view = View(version, tuple(members), partitions or {})

    def context(self, name: str, **fields: Any) -> EndContext:
        defaults = {'epoch': 0, 'group': '', 'start': None, 'rendezvous': self.rendezvous}
        return EndContext(
            channel=self.channel,
            site=SITE,
            name=name,
            public=self.provision.public,
            secrets=self.provision.secrets,
            **defaults | fields,
        )

    def through(self, port: int) -> None:
        """Let the ends opened from now on connect to another port."""
        public = dict(self.provision.public) | {'port': port}
        self.provision = replace(self.provision, public=public)

    def writer(self, name: str = 'p', epoch: int = 0) -> Any:
        self.ends.append(self.architecture.open_writer(self.context(name, epoch=epoch)))
        return self.ends[-1]

    def reader(self, name: str = 'r', group: str = 'g', **fields: Any) -> Any:
        context = self.context(name, group=group, **fields)
        self.ends.append(self.architecture.open_reader(context))
        return self.ends[-1]

    def admin(self, *command: Any) -> Any:
        """The reply to a command of the broker's administrator."""
        with closing(connect(self.architecture._channels['frames'].endpoint)) as connection:
            return connection.ask(list(command))[0]

    def close(self) -> None:
        for end in self.ends:
            end.close()
        self.architecture.release(self.channel)


def store(writer: Any, *batches: Batch, timeout: float = 5.0) -> None:
    """Write batches and wait until the broker has confirmed all of them."""
    for batch in batches:
        writer.write(batch, timeout)
    settle_down(lambda: waiting(writer) == 0, lambda: writer.pump(0.05))


def waiting(writer: Any) -> int:
    """Batches that the broker has not confirmed."""
    return len(writer._queue) + len(writer._window)


def settle_down(done: Callable[[], bool], step: Callable[[], Any], patience: float = 15.0) -> None:
    """Repeat a step until something holds."""
    deadline = time.monotonic() + patience
    while not done():
        assert time.monotonic() < deadline, 'it did not happen in time'
        step()


def take(reader: Any, count: int, *, patience: float = 15.0) -> list[Delivery]:
    """That many deliveries, not acknowledged."""
    got: list[Delivery] = []

    def step() -> None:
        delivery = reader.read(0.1)
        if delivery is not None:
            got.append(delivery)

    settle_down(lambda: len(got) == count, step, patience)
    return got


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [delivery.batch.number for delivery in deliveries]


def acknowledge(reader: Any, deliveries: list[Delivery]) -> None:
    """Settle deliveries, and wait until the broker has confirmed it."""
    for delivery in deliveries:
        reader.acknowledge(delivery)
    settle_down(lambda: reader._outbox.empty, reader.pump)


def die(end: Any) -> None:
    """End as a killed process does: the connection breaks, nothing is said."""
    end._line._drop()


class Tools:
    """The helpers above, for test modules, which cannot import this file."""

    make_batch = staticmethod(make_batch)
    store = staticmethod(store)
    waiting = staticmethod(waiting)
    settle_down = staticmethod(settle_down)
    take = staticmethod(take)
    numbers = staticmethod(numbers)
    acknowledge = staticmethod(acknowledge)
    die = staticmethod(die)


@pytest.fixture(scope='session')
def tools() -> type[Tools]:
    return Tools


@pytest.fixture(scope='module')
def architecture() -> Iterator[ManagedStreaming]:
    architecture = ManagedStreaming()
    Stage(architecture, name='first').close()  # So that the broker runs before any test.
    yield architecture
    architecture.close()


@pytest.fixture
def stage(architecture: ManagedStreaming) -> Iterator[Callable[..., Stage]]:
    stages: list[Stage] = []

    def make(**spec: Any) -> Stage:
        own = spec.pop('architecture', architecture)
        stages.append(Stage(own, **spec))
        return stages[-1]

    yield make
    for each in stages:
        each.close()
