"""The seam between the core and the architectures.

Everything above it (codecs, batching, sealing, de-duplication, settlement of
single messages, end of stream, statistics) is common. An architecture moves
opaque batches from writers to readers, keeps what is not acknowledged, and
says when a producer has ended. `parsl_streaming.testing` holds the smallest
implementation; `tests/conformance` states every promise as a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from enum import IntFlag
from functools import cached_property
from typing import Any
from typing import NamedTuple
from typing import Protocol

from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Durability
from parsl_streaming.spec import Pattern
from parsl_streaming.spec import Site

Buffer = bytes | bytearray | memoryview
"""A contiguous run of bytes."""


class Flag(IntFlag):
    """What a batch is, beside a carrier of messages."""

    NONE = 0
    SEALED = 1
    """The body is sealed with AES-256-GCM; the head is associated data."""
    END = 2
    """No messages: the producer has ended, and its last batch was `number - 1`."""
    ABORT = 4
    """With END: the producer failed; the body says why."""
    RETRY = 8
    """With ABORT: the task may be tried again under a new epoch."""
    REPLY = 16
    """Replies from a reader to the producer of the requests."""
    DEAD = 32
    """A dead letter."""


@dataclass(slots=True)
class Batch:
    """The unit that travels, is stored and acknowledged.

    Attributes:
        producer: Name of the producer.
        epoch: Incarnation of the producer; a retried task has a higher one.
        number: 1, 2, 3... per producer and epoch, over all partitions.
        count: Number of messages (0 for END).
        partition: Partition of a shuffle channel, else 0.
        flags: What the batch is.
        head: Encoded header and index: authenticated, not secret.
        body: The messages' bytes (ciphertext if SEALED).
    """

    producer: str
    epoch: int
    number: int
    count: int
    partition: int
    flags: Flag
    head: Buffer
    body: Buffer

    @property
    def nbytes(self) -> int:
        """Bytes of head and body."""
        return len(self.head) + len(self.body)


@dataclass(slots=True)
class Delivery:
    """One delivery of a batch to one reader.

    Attributes:
        batch: What was delivered.
        deliveries: How many times the link has handed it out to this group, from 1.
        settled: What the last `mark` or `release` said: bit i is set when message i
            needs no further delivery. Higher bits are the core's; links keep them.
        token: The link's own handle of the delivery (an entry id, a peer).
    """

    batch: Batch
    deliveries: int = 1
    settled: int = 0
    token: Any = None


class Room(NamedTuple):
    """What the readers will take now without waiting, in messages and bytes."""

    messages: int
    nbytes: int
    idle: bool
    """Whether some reader has nothing to do: waiting to fill a batch would cost latency."""


@dataclass(frozen=True, slots=True)
class Member:
    """One end of a channel, as the registry knows it.

    Attributes:
        name: Producer or consumer name, unique in its role on the channel.
        role: `writer` or `reader`.
        epoch: Incarnation; rises when a task is tried again.
        group: A reader's group; empty for a writer.
        state: `declared` (its task was submitted), `open`, `closed`, `lost`
            (silent), or `failed` (its task failed for good).
        contact: What the end announced: addresses, public keys.
    """

    name: str
    role: str
    epoch: int = 0
    group: str = ''
    state: str = 'declared'
    contact: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """What the registry knows of a channel now.

    Attributes:
        version: Rises with every change.
        members: Every end that was declared or opened.
        partitions: For each group, the reader that holds partition i.
    """

    version: int = 0
    members: tuple[Member, ...] = ()
    partitions: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @cached_property
    def places(self) -> dict[tuple[str, str], Member]:
        """The members by role and name."""
        return {(member.role, member.name): member for member in self.members}

    def of(self, role: str) -> list[Member]:
        """The members of one role."""
        return [member for member in self.members if member.role == role]

    @cached_property
    def groups(self) -> list[str]:
        """Every group that a declared reader belongs to, sorted; writers ask for each batch."""
        return sorted({member.group for member in self.members if member.role == 'reader'})


class Rendezvous(Protocol):
    """An end's connection to the registry (control plane only)."""

    @property
    def view(self) -> View:
        """The newest view; replaced as a whole when the registry pushes a change."""

    def announce(self, contact: Mapping[str, Any]) -> None:
        """Tell the other ends how to reach this one.

        Args:
            contact: Addresses and public keys: msgpack values, no secrets.
        """

    def bury(self, letter: Batch) -> None:
        """Store a dead letter in the session's log, for architectures that store nothing."""


@dataclass(frozen=True, slots=True)
class EndContext:
    """What an architecture needs to open one end of a link.

    Attributes:
        channel: The channel as declared.
        site: Where this end runs.
        name: Producer or consumer name.
        epoch: This end's incarnation.
        group: A reader's group; empty for a writer.
        start: Where a reader of a replayable channel begins: `begin`, `end`,
            an offset or an ISO time; `None` continues the group's position.
        public: What `provision` published in the route.
        secrets: What `provision` kept out of it; handed over by the registry.
        rendezvous: The end's connection to the registry.
    """

    channel: ChannelSpec
    site: Site
    name: str
    epoch: int
    group: str
    start: str | None
    public: Mapping[str, Any]
    secrets: Mapping[str, Any]
    rendezvous: Rendezvous


class LinkWriter(Protocol):
    """The producer's end of a link. Used under one lock, from any thread."""

    @property
    def safe(self) -> int:
        """Every batch up to this number is safe, as the channel's durability means it.

        Without a broker: settled by every group. With one: stored.
        """

    @property
    def floor(self) -> int:
        """Every batch with a lower number is settled by every group (0 if unknown)."""

    def room(self) -> Room:
        """What may be written now; cheap, never waits."""

    def write(self, batch: Batch, timeout: float) -> None:
        """Take a batch, waiting for credit.

        The link keeps the batch until it is safe. An END batch is written once,
        after everything else; each reader gets it when its group has settled
        every batch of this producer.

        Args:
            batch: The batch; its buffers must not change afterwards.
            timeout: Longest wait in seconds.

        Raises:
            ChannelFull: No credit within the timeout; the batch was not taken.
            ProducerFenced: A newer epoch of this producer is open.
        """

    def pump(self, timeout: float, *, waiting: bool = False) -> None:
        """Handle what came back (acknowledgements, credit, deaths, replies).

        Args:
            timeout: Longest wait in seconds (at most 0.1) for something to come.
            waiting: Messages wait for credit: a reader that ran dry may take more.
        """

    def replies(self) -> list[Batch]:
        """Reply batches that came since the last call."""

    def statistics(self) -> dict[str, int]:
        """Counters of this link: at least `redelivered`."""

    def close(self) -> None:
        """Free every resource at once; idempotent."""


class LinkReader(Protocol):
    """The consumer's end of a link. Used under one lock, from any thread."""

    def read(self, timeout: float) -> Delivery | None:
        """The next batch of this reader's group, or an END batch.

        An END (flag END) comes once per producer and epoch to every reader of
        the group, after all of the producer's batches were settled in the group.

        Args:
            timeout: Longest wait in seconds (at most 0.1).

        Returns:
            A delivery, or `None` when nothing came.
        """

    def acknowledge(self, delivery: Delivery) -> None:
        """Every message of the delivery is settled; may be sent with the next read."""

    def mark(self, delivery: Delivery, settled: int) -> None:
        """Replace what `Delivery.settled` will say, should this consumer die."""

    def release(self, delivery: Delivery, settled: int) -> None:
        """Give the delivery back, for another reader of the group, now."""

    def extend(self, delivery: Delivery) -> None:
        """The consumer is still working on it."""

    def bury(self, delivery: Delivery, letter: Batch) -> None:
        """Store a dead letter: a batch (flag DEAD) of one message of the delivery."""

    def reply(self, delivery: Delivery, batch: Batch) -> None:
        """Send replies to the delivery's producer, ahead of its acknowledgement."""

    def pump(self) -> bool:
        """Keep leases and credit fresh while the consumer is busy; never waits.

        Returns:
            Whether batches are coming in, so that it should be called again soon.
        """
        return False

    def statistics(self) -> dict[str, int]:
        """Counters of this link; none unless it has some of its own."""
        return {}

    def close(self) -> None:
        """Send what is due and free every resource; idempotent, bounded in time."""


@dataclass(frozen=True, slots=True)
class Provision:
    """What provisioning a channel gave.

    Attributes:
        public: For the route: addresses and names; no secrets, picklable.
        secrets: For the ends, handed over by the registry's encrypted connection.
    """

    public: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, Any] = field(default_factory=dict)


class Architecture(Protocol):
    """One way to carry channels; found by the entry-point group `parsl_streaming.architectures`.

    An instance lives as long as a session (`provision`, `release`, `close`) or
    a task (`open_writer`, `open_reader`).
    """

    name: str
    durabilities: frozenset[Durability]
    patterns: frozenset[Pattern]
    can_replay: bool

    def refuse(self, channel: ChannelSpec, source: Site, target: Site) -> str | None:
        """Why this architecture cannot carry the channel between these sites; `None` if it can.

        Declared durability, pattern and replay are compared by the policy; this
        is for the rest, such as reachability.
        """
        return None

    def provision(self, channel: ChannelSpec, source: Site, target: Site) -> Provision:
        """Make the channel ready: start or find its service.

        Raises:
            StreamingError: It cannot; the next rule of the policy is tried.
        """

    def release(self, channel: ChannelSpec) -> None:
        """Remove what `provision` and the channel's use left behind."""

    def dead_letters(self, channel: ChannelSpec) -> list[Batch]:
        """The dead letters that the architecture itself stores, oldest first."""
        return []

    def open_writer(self, end: EndContext) -> LinkWriter:
        """Open a producer's end."""

    def open_reader(self, end: EndContext) -> LinkReader:
        """Open a consumer's end."""

    def close(self) -> None:
        """Stop what this instance started; idempotent."""
