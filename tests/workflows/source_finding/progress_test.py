"""Progress as lines and as a bar."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from source_finding.progress import PLAIN_LINES
from source_finding.progress import progress


@pytest.mark.parametrize('total', [1, 3, 5, 88])
def test_plain_lines_are_few_and_end_with_the_last(total: int) -> None:
    written = io.StringIO()
    with progress(total, Console(file=written)) as advance:
        for _ in range(total):
            advance()
    lines = written.getvalue().splitlines()
    assert 1 <= len(lines) <= PLAIN_LINES
    assert lines[-1] == f'{total} of {total} tiles'


def test_bar_on_a_terminal() -> None:
    written = io.StringIO()
    with progress(3, Console(file=written, force_terminal=True, width=80)) as advance:
        for _ in range(3):
            advance()
    assert '3/3' in written.getvalue()
