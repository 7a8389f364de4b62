"""What the conformance suite does not ask of the in-memory architecture."""

from __future__ import annotations

import ast
from pathlib import Path

import parsl_streaming
import parsl_streaming.testing
from parsl_streaming.testing import MemoryStreaming

SOURCE = Path(parsl_streaming.testing.__file__).with_name('memory.py')


def config(directory: Path) -> dict[str, object]:
    return {
        'session': {'directory': str(directory)},
        'sites': {'a': {}},
        'channels': {'c': {'from': 'a', 'to': 'a', 'timeout': '5 s'}},
    }


def test_sessions_do_not_share_channels_of_one_name(tmp_path: Path) -> None:
    with parsl_streaming.load(config(tmp_path), architecture='memory'):
        reader, writer = parsl_streaming.reader('c'), parsl_streaming.writer('c')
        with parsl_streaming.load(config(tmp_path), architecture='memory'):
            inner_reader, inner_writer = parsl_streaming.reader('c'), parsl_streaming.writer('c')
            inner_writer.send('inner')
            assert inner_reader.receive(5).value == 'inner'
            inner_reader.close()
            inner_writer.close()
        writer.send('outer')
        assert reader.receive(5).value == 'outer'
        reader.close()
        writer.close()


def test_a_session_leaves_nothing(tmp_path: Path) -> None:
    with parsl_streaming.load(config(tmp_path), architecture='memory') as session:
        session.route('c').result(5)
        assert len(MemoryStreaming._channels) == 1
    assert len(MemoryStreaming._channels) == 0


def test_it_shows_how_little_the_seam_asks() -> None:
    tree = ast.parse(SOURCE.read_text())
    docs = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    described = {line for doc in docs for line in range(doc.lineno, (doc.end_lineno or 0) + 1)}
    code = [
        line
        for number, line in enumerate(SOURCE.read_text().splitlines(), 1)
        if line.strip() and not line.lstrip().startswith('#') and number not in described
    ]
    assert len(code) < 150
