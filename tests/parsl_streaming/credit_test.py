from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parsl_streaming.credit import START_BYTES
from parsl_streaming.credit import START_MESSAGES
from parsl_streaming.credit import Account
from parsl_streaming.credit import Window

AMOUNTS = st.tuples(st.integers(1, 50), st.integers(1, 5000))


@given(st.integers(1, 1 << 20), st.integers(1, 1 << 40))
def test_a_window_starts_small_and_grows_to_its_limit(messages: int, nbytes: int) -> None:
    window = Window(messages, nbytes)
    assert window.messages == min(START_MESSAGES, messages)
    assert window.nbytes == min(START_BYTES, nbytes)
    steps = 0
    while window.grow():
        steps += 1
        assert steps < 64
    assert (window.messages, window.nbytes) == (messages, nbytes)


@given(AMOUNTS, st.lists(AMOUNTS | st.none()))
def test_no_more_is_in_flight_than_was_granted(
    limit: tuple[int, int], steps: list[tuple[int, int] | None]
) -> None:
    """`None` settles the oldest batch; the rest want to be sent."""
    account = Account()
    flight: list[tuple[int, int]] = []
    account.grant(*limit)
    for step in steps:
        if step is None:
            if flight:
                account.give_back(*flight.pop(0))
        elif account.fits(*step):
            account.spend(*step)
            flight.append(step)
        assert account.messages == sum(messages for messages, _ in flight)
        assert account.nbytes == sum(nbytes for _, nbytes in flight)
        assert account.idle == (not flight)
        assert account.messages <= limit[0] or len(flight) == 1
        assert account.nbytes <= limit[1] or len(flight) == 1
        assert min(account.room()) >= 0


def test_one_batch_fits_an_idle_reader_however_large() -> None:
    account = Account()
    assert not account.fits(1, 1)
    account.grant(2, 100)
    assert account.fits(1000, 1 << 40)
    account.spend(1000, 1 << 40)
    assert not account.fits(1, 1)
    assert account.room() == (0, 0)
