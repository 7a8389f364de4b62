"""What producers sent and consumers did, and what a fault must not have done to it.

Each process of a test appends records to a journal of its own, a JSON line each:
a journal of a killed process is complete up to its death.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Message = tuple[str, int]
"""Producer and sequence number."""


def digest(data: bytes) -> str:
    """The checksum by which a payload is compared."""
    return hashlib.sha256(data).hexdigest()


class Journal:
    """The records of one process: `sent`, `safe`, `received`, `done` and what else it notes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, event: str, **fields: Any) -> None:
        """Append a record; it is in the file when this returns."""
        with self.path.open('a') as file:
            file.write(json.dumps({'event': event, 'time': time.time(), **fields}) + '\n')

    def records(self, event: str | None = None) -> list[dict[str, Any]]:
        """The records so far, of one event or all; a line that is half written is left out."""
        lines = self.path.read_text().split('\n')[:-1] if self.path.exists() else []
        records = [json.loads(line) for line in lines]
        return [each for each in records if event in (None, each['event'])]


@dataclass(frozen=True)
class Verdict:
    """What came of a history; see `judge`.

    Attributes:
        acknowledged_lost: Messages that the sender was told are safe, and that nobody did.
        corrupt: Messages that arrived with another payload than was sent.
        never_sent: Messages that arrived and that nobody sent.
        duplicates: Arrivals beyond the first of a message.
        unmarked: Duplicates that were not marked as redelivered.
        redelivered: Arrivals that were marked.
    """

    acknowledged_lost: set[Message]
    corrupt: set[Message]
    never_sent: set[Message]
    duplicates: int
    unmarked: int
    redelivered: int

    @property
    def sound(self) -> bool:
        """Whether nothing that was promised is broken."""
        return not (self.acknowledged_lost or self.corrupt or self.never_sent or self.unmarked)


def judge(journals: Iterable[Journal]) -> Verdict:
    """Hold what consumers did against what producers sent."""
    records = [record for journal in journals for record in journal.records()]
    sent = {_message(r): r['digest'] for r in records if r['event'] == 'sent'}
    safe = {_message(r) for r in records if r['event'] == 'safe'}
    arrived = [r for r in records if r['event'] == 'received']
    done = {_message(r) for r in records if r['event'] == 'done'}
    plain = Counter(_message(r) for r in arrived if not r['redelivered'])
    return Verdict(
        acknowledged_lost=safe - done,
        corrupt={_message(r) for r in arrived if r['digest'] != sent.get(_message(r))} & set(sent),
        never_sent={_message(r) for r in arrived} - set(sent),
        duplicates=len(arrived) - len({_message(r) for r in arrived}),
        unmarked=sum(count - 1 for count in plain.values()),
        redelivered=sum(r['redelivered'] for r in arrived),
    )


def _message(record: dict[str, Any]) -> Message:
    return record['producer'], record['seq']
