"""What a user declares: sites, channels, and what each promises."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MIB: Final = 1 << 20


class Pattern(StrEnum):
    """How the messages of a channel are shared among its readers."""

    WORK_SHARING = 'work-sharing'
    """Each message goes to one reader of each group."""
    FEEDBACK = 'feedback'
    """Work sharing in which the reader answers the sender (`request`, `reply`)."""
    BROADCAST = 'broadcast'
    """Each message goes to every reader: each is a group of its own."""
    GATHER = 'gather'
    """Broadcast in which the sender gathers one reply from every reader."""
    SHUFFLE = 'shuffle'
    """Each message goes to the reader that holds the partition of its key."""

    @property
    def has_replies(self) -> bool:
        """Whether readers answer the sender."""
        return self in (Pattern.FEEDBACK, Pattern.GATHER)

    @property
    def is_broadcast(self) -> bool:
        """Whether each reader is a group of its own."""
        return self in (Pattern.BROADCAST, Pattern.GATHER)


class Durability(StrEnum):
    """What an accepted message survives."""

    NONE = 'none'
    """In flight only: kept by the writer until acknowledged; survives a consumer."""
    MEMORY = 'memory'
    """Survives any consumer or producer."""
    DISK = 'disk'
    """Survives the broker's `kill -9` too."""


class OnFull(StrEnum):
    """What `send` does when no reader gives credit."""

    BLOCK = 'block'
    """Wait up to the channel's timeout, then raise `ChannelFull`."""
    DROP_OLDEST = 'drop-oldest'
    """Drop the oldest message that has not left yet; count it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place where apps run, and what its network allows.

    Attributes:
        name: The Parsl executor label (or `submit`, the submit process).
        network: Name of its trust domain; sites of one network reach each other.
        inbound: Whether it accepts connections from other networks.
        addresses: Addresses on which its apps may listen; loopback unless declared.
        key_file: The site's CURVE key file (0600); made per session unless given.
    """

    name: str
    network: str = 'local'
    inbound: bool = False
    addresses: tuple[str, ...] = ('127.0.0.1',)
    key_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSpec:
    """A named stream between sites: its pattern, guarantee and limits.

    Attributes:
        name: The channel's name; also the parameter of the apps that use it.
        source: Name of the writers' site (`from` in `streaming.toml`).
        target: Name of the readers' site (`to` in `streaming.toml`).
        pattern: How messages are shared among readers.
        durability: What an accepted message survives.
        architecture: Pins an architecture; `None` lets the policy choose.
        partitions: Number of partitions of a shuffle channel.
        writers: Number of writers, if fixed; else every declared writer counts.
        readers: Number of readers, if fixed; writers of a broadcast wait for them.
        sealed: Whether payloads are sealed end to end (AES-256-GCM).
        pickle: Whether pickled values may be sent and are decoded.
        replay: Whether readers may start at an earlier offset.
        max_message_bytes: Largest message, in bytes.
        credit_messages: Most messages a reader lets one writer have in flight.
        credit_bytes: Most bytes a reader lets one writer have in flight.
        batch_messages: A batch closes at this many messages.
        batch_bytes: A batch closes at this many bytes.
        linger: A batch closes after this many seconds.
        max_deliveries: A message goes to the dead-letter log after this many deliveries.
        lease: Seconds after which a silent consumer counts as dead.
        timeout: Seconds that `send`, `flush`, `close` and a read wait at most by default.
        on_full: What `send` does when no reader gives credit.
    """

    name: str
    source: str
    target: str
    pattern: Pattern = Pattern.WORK_SHARING
    durability: Durability = Durability.NONE
    architecture: str | None = None
    partitions: int = 1
    writers: int | None = None
    readers: int | None = None
    sealed: bool = True
    pickle: bool = False
    replay: bool = False
    max_message_bytes: int = 256 * MIB
    credit_messages: int = 4096
    credit_bytes: int = 64 * MIB
    batch_messages: int = 256
    batch_bytes: int = MIB
    linger: float = 0.01
    max_deliveries: int = 5
    lease: float = 5.0
    timeout: float = 300.0
    on_full: OnFull = OnFull.BLOCK

    @property
    def max_body_bytes(self) -> int:
        """Most bytes of messages in one batch."""
        return max(self.max_message_bytes, self.batch_bytes) + self.batch_bytes
