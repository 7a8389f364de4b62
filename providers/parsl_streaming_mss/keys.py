"""Names of keys. One hash tag for each channel keeps all of its keys in one slot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class StreamName:
    """What a stream's key says.

    Attributes:
        partition: Partition of a shuffle channel, else 0.
        producer: Name of the producer.
        epoch: Incarnation of the producer.
    """

    partition: int
    producer: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a channel.

    Attributes:
        prefix: What all of them begin with.
    """

    prefix: str

    @classmethod
    def of(cls, channel: str, run: str) -> Self:
        """The keys of a channel.

        Args:
            channel: The channel's name.
            run: Tells two sessions apart that share a facility's broker.
        """
        return cls(f'ps:{{{channel}.{run}}}:')

    @property
    def streams(self) -> str:
        """Set of the keys of all streams."""
        return f'{self.prefix}streams'

    @property
    def extras(self) -> str:
        """Set of the other keys that exist once per producer or group."""
        return f'{self.prefix}extras'

    @property
    def ends(self) -> str:
        """Hash: `<producer>:<epoch>`, `:h` or `:b` appended, to head and body of the END batch."""
        return f'{self.prefix}ends'

    @property
    def dead(self) -> str:
        """Stream of dead letters."""
        return f'{self.prefix}dead'

    @property
    def fixed(self) -> list[str]:
        """The keys that do not depend on producers or groups."""
        return [self.streams, self.extras, self.ends, self.dead]

    def stream(self, partition: int, producer: str, epoch: int) -> str:
        """The stream of one partition of one producer's incarnation."""
        return f'{self.prefix}s:{partition}:{producer}:{epoch}'

    def name_of(self, stream: str) -> StreamName:
        """What `stream` put into a key."""
        partition, _, rest = stream[len(self.prefix) + 2 :].partition(':')
        producer, _, epoch = rest.rpartition(':')
        return StreamName(int(partition), producer, int(epoch))

    def replies(self, producer: str, epoch: int) -> str:
        """Stream of the replies to one producer's incarnation."""
        return f'{self.prefix}r:{producer}:{epoch}'

    def counters(self, producer: str, epoch: int) -> str:
        """Hash of what each group has settled of one producer's incarnation."""
        return f'{self.prefix}c:{producer}:{epoch}'

    def streams_of(self, producer: str) -> str:
        """Set of the streams of one producer's incarnations."""
        return f'{self.prefix}i:{producer}'

    def marks(self, group: str) -> str:
        """Hash: `<stream>|<id>` to the bits of the messages that need no redelivery."""
        return f'{self.prefix}m:{group}'

    def released(self, group: str) -> str:
        """List of `<stream>|<id>` that a reader of the group gave back."""
        return f'{self.prefix}l:{group}'
