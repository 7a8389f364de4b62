"""The history checker itself finds what it is there to find."""

from __future__ import annotations

from pathlib import Path

from history import Journal
from history import judge


def _history(path: Path, *events: str) -> Journal:
    """Events as `event seq digest [again]`."""
    journal = Journal(path)
    for event in events:
        what, seq, checksum, *again = event.split()
        fields = {'producer': 'p', 'seq': int(seq), 'digest': checksum}
        journal.note(what, redelivered=bool(again), **fields)
    return journal


SENT = ('sent 1 a', 'safe 1 a', 'sent 2 b', 'safe 2 b')
FIRST = ('received 1 a', 'done 1 a')


def test_sound(tmp_path: Path) -> None:
    events = (*SENT, *FIRST, 'received 2 b', 'received 2 b again', 'done 2 b')
    verdict = judge([_history(tmp_path / 'j', *events)])
    assert verdict.sound
    assert (verdict.duplicates, verdict.redelivered) == (1, 1)


def test_lost(tmp_path: Path) -> None:
    verdict = judge([_history(tmp_path / 'j', *SENT, *FIRST, 'received 2 b')])
    assert verdict.acknowledged_lost == {('p', 2)}
    assert not verdict.sound


def test_corrupt(tmp_path: Path) -> None:
    verdict = judge([_history(tmp_path / 'j', *SENT, *FIRST, 'received 2 x', 'done 2 x')])
    assert verdict.corrupt == {('p', 2)}
    assert not verdict.sound


def test_never_sent(tmp_path: Path) -> None:
    verdict = judge([_history(tmp_path / 'j', *FIRST)])
    assert verdict.never_sent == {('p', 1)}
    assert verdict.corrupt == set()
    assert not verdict.sound


def test_unmarked_duplicate(tmp_path: Path) -> None:
    verdict = judge([_history(tmp_path / 'j', *SENT[:2], *FIRST, *FIRST)])
    assert (verdict.duplicates, verdict.unmarked) == (1, 1)
    assert not verdict.sound


def test_half_written_line_is_left_out(tmp_path: Path) -> None:
    journal = _history(tmp_path / 'j', *SENT)
    with journal.path.open('a') as file:
        file.write('{"event": "do')
    assert len(journal.records()) == 4
    assert Journal(tmp_path / 'none').records() == []
