from __future__ import annotations

import io

from rich.console import Console

import parsl_streaming
import parsl_streaming.testing
from parsl_streaming.cli.report import print_report

CONFIG = {
    'sites': {'a': {'network': 'n'}},
    'channels': {'frames': {'from': 'a', 'to': 'submit', 'architecture': 'memory'}},
}


def test_the_report_shows_each_channel_with_why_and_how_much() -> None:
    shown = io.StringIO()
    assert parsl_streaming.testing.MemoryStreaming.name == 'memory'
    with parsl_streaming.load(CONFIG) as session:
        with parsl_streaming.writer('frames') as frames:
            reader = parsl_streaming.reader('frames')
            for i in range(7):
                frames.send(i)
            for _ in range(7):
                reader.receive()
            reader.close()
        print_report(session, Console(file=shown, width=80))
    text = shown.getvalue()
    assert 'frames travels by MEMORY: The configuration pins it' in text
    row = next(line for line in text.splitlines() if line.startswith('frames  '))
    assert row.split()[1] == '7'
    assert row.split()[-3:] == ['0', '0', '0']
    assert max(len(line) for line in text.splitlines()) <= 80
