from __future__ import annotations

from typing import Any

import pytest

from parsl_streaming.channelcheck import read_channel
from parsl_streaming.configcheck import Problems
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Durability
from parsl_streaming.spec import OnFull
from parsl_streaming.spec import Pattern

MIB = 1 << 20


def read(name: str = 'frames', **keys: Any) -> tuple[ChannelSpec, str]:
    problems = Problems('f')
    table = {'from': 'a', 'to': 'b'} | keys
    spec = read_channel(problems, name, table, sites=['a', 'b'], architectures=['dts'])
    return spec, '\n'.join(problems.lines)


def test_defaults_are_those_of_the_specification() -> None:
    assert read() == (ChannelSpec(name='frames', source='a', target='b'), '')


def test_every_key() -> None:
    spec, problems = read(
        pattern='shuffle',
        durability='memory',
        architecture='dts',
        partitions=8,
        writers=2,
        readers=4,
        sealed=False,
        pickle=True,
        replay=True,
        max_message='1 GiB',
        credit_messages=100,
        credit='2 MiB',
        batch_messages=10,
        batch='64 KiB',
        linger='5 ms',
        max_deliveries=3,
        lease='2 s',
        timeout='1 min',
        on_full='drop-oldest',
    )
    assert problems == ''
    assert spec == ChannelSpec(
        name='frames',
        source='a',
        target='b',
        pattern=Pattern.SHUFFLE,
        durability=Durability.MEMORY,
        architecture='dts',
        partitions=8,
        writers=2,
        readers=4,
        sealed=False,
        pickle=True,
        replay=True,
        max_message_bytes=1 << 30,
        credit_messages=100,
        credit_bytes=2 * MIB,
        batch_messages=10,
        batch_bytes=1 << 16,
        linger=0.005,
        max_deliveries=3,
        lease=2.0,
        timeout=60.0,
        on_full=OnFull.DROP_OLDEST,
    )


def test_batches_shrink_to_a_small_credit() -> None:
    spec, problems = read(credit='100 KiB', credit_messages=16)
    assert problems == ''
    assert (spec.batch_bytes, spec.batch_messages) == (100 << 10, 16)


def test_batches_do_not_grow_with_the_credit() -> None:
    spec, _ = read(credit='1 GiB', credit_messages=10**6)
    assert (spec.batch_bytes, spec.batch_messages) == (MIB, 256)


@pytest.mark.parametrize(
    ('keys', 'wanted'),
    [
        ({'credit': '1 KiB', 'batch': '2 KiB'}, 'batch: found 2048 bytes; allowed: at most credit'),
        ({'batch': '65 MiB'}, 'at most credit = 67108864 bytes'),
        ({'credit_messages': 4, 'batch_messages': 5}, 'at most credit_messages = 4'),
        ({'partitions': 2}, 'partitions: found 2; allowed: 1, unless pattern = "shuffle"'),
        ({'pattern': 'shuffle', 'partitions': 2, 'readers': 3}, 'at most partitions = 2'),
        ({'partitions': 65537}, 'from 1 to 65536'),
        ({'batch_messages': 65537}, 'from 1 to 65536'),
        ({'max_message': '2 GiB'}, 'at most 1073741824'),
        ({'lease': '100 ms'}, 'at least 0.2 s'),
        ({'timeout': 0}, 'at least 0.001 s'),
        ({'readers': 0}, 'at least 1'),
        ({'max_deliveries': 0}, 'at least 1'),
        ({'credit': 0}, 'at least 1'),
        ({'linger': -1}, 'at least 0 s'),
        ({'sealed': 'no'}, 'true or false'),
        ({'durability': 'disc'}, 'did you mean "disk"?'),
        ({'architecture': 'dst'}, 'did you mean "dts"?'),
        ({'to': 'c'}, 'found "c"; allowed: "a", "b"'),
        ({'max_message_bytes': 1}, 'did you mean "max_message"?'),
        ({'source': 'a'}, 'unknown key'),
    ],
)
def test_mistakes(keys: dict[str, Any], wanted: str) -> None:
    _, problems = read(**keys)
    assert wanted in problems
    assert len(problems.splitlines()) == 1
    assert problems.startswith('f: channels.frames.')


@pytest.mark.parametrize('name', ['two words', 'fr-ames', '1st', 'class', 'é', '', 'x' * 65])
def test_names_are_parameters(name: str) -> None:
    _, problems = read(name)
    assert 'wrong name; allowed: a parameter name' in problems
