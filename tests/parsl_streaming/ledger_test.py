from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine
from hypothesis.stateful import invariant
from hypothesis.stateful import precondition
from hypothesis.stateful import rule

from parsl_streaming.ledger import Ledger
from parsl_streaming.ledger import owing
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Flag
from parsl_streaming.seam import Member
from parsl_streaming.seam import View
from parsl_streaming.spec import Pattern

GROUPS = st.sampled_from(['live', 'archive'])
READERS = st.sampled_from(['r1', 'r2', 'r3'])


def batch(number: int) -> Batch:
    return Batch('p', 1, number, 1, 0, Flag.NONE, b'', b'')


class LedgerMachine(RuleBasedStateMachine):
    """Against a plain model: where each batch is for each group."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.number = 0
        self.queued: set[tuple[int, str]] = set()
        self.held: dict[tuple[int, str], str] = {}

    @rule(groups=st.sets(GROUPS))
    def add(self, groups: set[str]) -> None:
        self.number += 1
        self.ledger.add(batch(self.number), groups)
        self.queued |= {(self.number, group) for group in groups}

    @precondition(lambda self: self.queued)
    @rule(data=st.data(), reader=READERS)
    def hand_out(self, data: st.DataObject, reader: str) -> None:
        place = data.draw(st.sampled_from(sorted(self.queued)))
        self.ledger.hand_out(*place, reader)
        self.queued.remove(place)
        self.held[place] = reader

    @precondition(lambda self: self.held)
    @rule(data=st.data(), reader=READERS)
    def settle(self, data: st.DataObject, reader: str) -> None:
        place = data.draw(st.sampled_from(sorted(self.held)))
        mine = self.held[place] == reader
        assert (self.ledger.settle(*place, reader) is not None) == mine
        if mine:
            del self.held[place]

    @precondition(lambda self: self.held)
    @rule(data=st.data(), reader=READERS, settled=st.integers(0, 7))
    def take_back(self, data: st.DataObject, reader: str, settled: int) -> None:
        place = data.draw(st.sampled_from(sorted(self.held)))
        number, group = place
        mine = self.held[place] == reader
        self.ledger.mark(number, group, reader, settled)
        entry = self.ledger.take_back(number, group, reader)
        assert (entry is not None) == mine
        if entry is not None:
            assert entry.settled[group] == settled
            del self.held[place]
            self.queued.add(place)

    @rule(reader=READERS)
    def lose(self, reader: str) -> None:
        self.ledger.lose(reader)
        lost = [place for place, holder in self.held.items() if holder == reader]
        for place in lost:
            del self.held[place]
            self.queued.add(place)

    @rule(group=GROUPS)
    def forgive(self, group: str) -> None:
        self.ledger.forgive(group)
        self.queued = {place for place in self.queued if place[1] != group}
        self.held = {place: r for place, r in self.held.items() if place[1] != group}

    @invariant()
    def agrees(self) -> None:
        for group in ('live', 'archive'):
            expected = sorted(number for number, own in self.queued if own == group)
            assert list(self.ledger.queue(group)) == expected
        for reader in ('r1', 'r2', 'r3'):
            expected_held = sorted(p for p, holder in self.held.items() if holder == reader)
            assert sorted(self.ledger.held_by(reader)) == expected_held
        open_ = sorted({number for number, _ in self.queued | set(self.held)})
        assert list(self.ledger.entries) == open_
        assert self.ledger.floor == (open_[0] if open_ else self.number + 1)


TestLedger = LedgerMachine.TestCase


def test_each_delivery_is_counted() -> None:
    ledger = Ledger()
    ledger.add(batch(1), ['g'])
    for n in (1, 2, 3):
        assert ledger.hand_out(1, 'g', 'r').deliveries == {'g': n}
        ledger.lose('r')
    assert ledger.returned == 3


def test_what_is_not_there_cannot_be_settled() -> None:
    ledger = Ledger()
    assert ledger.settle(1, 'g', 'r') is None
    assert ledger.take_back(1, 'g', 'r') is None
    ledger.mark(1, 'g', 'r', 1)
    assert ledger.floor == 1


def test_readers_that_left_owe_nothing_of_a_broadcast() -> None:
    states = ('declared', 'open', 'lost', 'closed', 'failed')
    members = tuple(Member(state, 'reader', 1, state, state) for state in states)
    view = View(1, members)
    assert owing(view, Pattern.WORK_SHARING) == sorted(states)
    assert owing(view, Pattern.BROADCAST) == ['declared', 'lost', 'open']
    assert owing(view, Pattern.GATHER) == ['declared', 'lost', 'open']
