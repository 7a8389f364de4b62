"""What is in flight: never less than the truth, and exact when groups skip nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from parsl_streaming_mss.credit import Amount
from parsl_streaming_mss.credit import Ledger

STEPS = st.lists(
    st.tuples(st.sampled_from(['write', 'settle']), st.integers(0, 1), st.integers(0, 30)),
    max_size=60,
)


@given(STEPS)
def test_it_follows_groups_that_settle_in_any_order(steps: Any) -> None:
    ledger, written = Ledger(), []
    open_to = {'a': set(), 'b': set()}
    for step, which, pick in steps:
        if step == 'write':
            written.append(number := len(written) + 1)
            ledger.wrote(which, number, Amount(1, pick, 100 * pick))
            open_to['a'].add((number, which, pick))
            open_to['b'].add((number, which, pick))
        elif waiting := open_to['ab'[which]]:
            waiting.remove(sorted(waiting)[pick % len(waiting)])
        for partition in (0, 1):
            lowest = [n for each in open_to.values() for n, p, _ in each if p == partition]
            ledger.settled_below(partition, min(lowest, default=len(written) + 1))
        ledger.settled_by(['a', 'b'], totals(ledger, open_to))
        either = open_to['a'] | open_to['b']
        assert ledger.in_flight.batches == max(len(each) for each in open_to.values())
        assert ledger.in_flight.nbytes <= sum(100 * n for _, _, n in either)
        assert ledger.floor == min((n for n, _, _ in either), default=len(written) + 1)


def totals(ledger: Ledger, open_to: dict[str, set[tuple[int, int, int]]]) -> dict[str, Amount]:
    return {
        group: ledger._written
        - Amount(len(each), sum(n for _, _, n in each), sum(100 * n for _, _, n in each))
        for group, each in open_to.items()
    }


def test_a_group_that_skipped_batches_does_not_hold_credit() -> None:
    ledger = Ledger()
    ledger.wrote(0, 1, Amount(1, 10, 100))
    ledger.settled_by(['late'], {})
    assert ledger.in_flight == Amount(1, 10, 100)
    ledger.settled_below(0, 2)
    assert ledger.in_flight == Amount()


def test_a_group_that_replays_does_not_make_it_negative() -> None:
    ledger = Ledger()
    ledger.wrote(0, 1, Amount(1, 1, 1))
    ledger.settled_by([], {'g': Amount(5, 5, 5)})
    assert ledger.in_flight == Amount()
