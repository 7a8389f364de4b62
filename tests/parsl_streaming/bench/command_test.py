from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from click.testing import Result

from parsl_streaming.bench import command

KEYS = {
    'architecture',
    'workload',
    'pattern',
    'producers',
    'consumers',
    'messages',
    'bytes',
    'seconds',
    'msgs_per_s',
    'mb_per_s',
    'paper_msgs_per_s',
    'rtt_ms',
    'lost',
    'duplicated',
    'corrupt',
    'redelivered',
    'cpu_s_per_gb',
    'peak_rss_mb',
    'congestion_control',
}
SMALL = ['--workload', 'deleria', '--messages', '50', '--limit', '30']


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(command.bench, [*SMALL, *arguments], standalone_mode=False)


def test_json_has_the_documented_keys() -> None:
    done = invoke('--json', '--unsealed')
    result = json.loads(done.output)
    assert done.return_value == 0
    assert set(result) >= KEYS
    assert (result['architecture'], result['sealed'], result['messages']) == ('dts', False, 50)


def test_a_person_gets_a_table_with_the_baselines() -> None:
    done = invoke('--pattern', 'feedback', '--baseline', '--in-flight', '1')
    assert done.return_value == 0
    assert 'pyzmq-ping-pong' in done.output
    assert 'round trips in ms, dts: p50' in done.output
    assert 'lost 0, duplicated 0, corrupt 0, redelivered 0' in done.output


@pytest.mark.parametrize('name', ['lost', 'duplicated', 'corrupt'])
def test_damage_is_a_failure(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    counts = {'lost': 0, 'duplicated': 0, 'corrupt': 0} | {name: 1}
    monkeypatch.setattr(command, 'compare', lambda *_, **__: counts)
    assert invoke('--json').return_value == 1
