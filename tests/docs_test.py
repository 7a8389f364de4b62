"""The configurations that the documentation shows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import parsl_streaming
from parsl_streaming.config import load_config
from parsl_streaming.explain import explain

HERE = Path(__file__).parents[1]
PAGES = ['README.md', *(f'docs/{page.name}' for page in sorted((HERE / 'docs').glob('*.md')))]


def blocks(page: str, language: str) -> list[str]:
    text = (HERE / page).read_text(encoding='utf-8')
    return re.findall(rf'^```{language}\n(.*?)^```', text, re.DOTALL | re.MULTILINE)


EXAMPLES = [
    pytest.param(block, id=f'{page}-{number}')
    for page in PAGES
    for number, block in enumerate(blocks(page, 'toml'))
]


@pytest.mark.parametrize('example', EXAMPLES)
def test_every_channel_of_an_example_has_a_route(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = tomllib.loads(example)
    assert explain(load_config(found)).routed
    with parsl_streaming.load(found) as session:
        assert set(session.config.channels) == set(found.get('channels', {}))


@pytest.mark.parametrize('page', ['README.md', 'docs/configuration.md'])
def test_the_configuration_is_that_of_the_program(page: str) -> None:
    program = blocks('README.md', 'python')[0]
    config = load_config(tomllib.loads(blocks(page, 'toml')[0]))
    named = set(re.findall(r"(?:reads|writes)='(\w+)'", program))
    assert named == set(config.channels)
    assert set(re.findall(r"executors=\['(\w+)'\]", program)) <= set(config.sites)
    read = re.findall(r"parsl_streaming\.reader\('(\w+)'\)", program)
    assert [config.channel(name).target for name in read] == ['submit']
