"""Credit: how much a reader lets a writer have in flight.

A reader starts with a small window, so that a slow one does not hoard messages
that another could work on, and doubles it whenever it ran dry, up to the
channel's limits, so that a fast one is never starved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

START_MESSAGES: Final = 2
START_BYTES: Final = 1 << 20


@dataclass(slots=True)
class Window:
    """The window that a reader grants one writer.

    Attributes:
        max_messages: The channel's `credit_messages`.
        max_bytes: The channel's `credit_bytes`.
        messages: Messages that may be in flight now.
        nbytes: Bytes that may be in flight now.
    """

    max_messages: int
    max_bytes: int
    messages: int = START_MESSAGES
    nbytes: int = START_BYTES

    def __post_init__(self) -> None:
        self.messages = min(self.messages, self.max_messages)
        self.nbytes = min(self.nbytes, self.max_bytes)

    def grow(self) -> bool:
        """Double the window because the reader ran dry; says whether it changed."""
        before = (self.messages, self.nbytes)
        self.messages = min(2 * self.messages, self.max_messages)
        self.nbytes = min(2 * self.nbytes, self.max_bytes)
        return (self.messages, self.nbytes) != before


@dataclass(slots=True)
class Account:
    """What one reader has in flight, as the writer counts it.

    A single batch may always be sent when nothing is in flight, however large.
    """

    limit_messages: int = 0
    limit_bytes: int = 0
    messages: int = 0
    nbytes: int = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight although the reader grants credit."""
        return self.messages == 0 and self.limit_messages > 0

    @property
    def is_tight(self) -> bool:
        """Whether half of what is granted is in flight."""
        return 2 * self.messages >= self.limit_messages or 2 * self.nbytes >= self.limit_bytes

    def grant(self, messages: int, nbytes: int) -> None:
        """The reader's window is this now."""
        self.limit_messages = messages
        self.limit_bytes = nbytes

    def room(self) -> tuple[int, int]:
        """Messages and bytes that may be sent now."""
        if self.idle:
            return self.limit_messages, self.limit_bytes
        return (
            max(0, self.limit_messages - self.messages),
            max(0, self.limit_bytes - self.nbytes),
        )

    def fits(self, messages: int, nbytes: int) -> bool:
        """Whether a batch may be sent now."""
        free_messages, free_bytes = self.room()
        return self.idle or (messages <= free_messages and nbytes <= free_bytes)

    def spend(self, messages: int, nbytes: int) -> None:
        """A batch was sent."""
        self.messages += messages
        self.nbytes += nbytes

    def give_back(self, messages: int, nbytes: int) -> None:
        """A batch was settled, or taken back."""
        self.messages -= messages
        self.nbytes -= nbytes
