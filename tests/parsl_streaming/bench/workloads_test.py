from __future__ import annotations

import pytest

from parsl_streaming.bench.workloads import BUFFERS
from parsl_streaming.bench.workloads import WORKLOADS
from parsl_streaming.bench.workloads import Marks

DELERIA = WORKLOADS['deleria']


@pytest.mark.parametrize(
    ('name', 'nbytes'), [('deleria', 16_000), ('lcls', 1_000_021), ('generic', 4_000_000)]
)
def test_sizes_are_those_of_the_paper(name: str, nbytes: int) -> None:
    assert WORKLOADS[name].nbytes == nbytes


def test_lcls_looks_like_hdf5() -> None:
    assert WORKLOADS['lcls'].prefix.startswith(b'\x89HDF\r\n\x1a\n')


def test_payloads_are_the_same_for_one_seed_and_differ_from_each_other() -> None:
    payloads = DELERIA.payloads(1)
    assert payloads == DELERIA.payloads(1) != DELERIA.payloads(2)
    assert len(set(payloads)) == BUFFERS
    assert {len(payload) for payload in payloads} == {DELERIA.nbytes}


def test_marks_fit_their_payloads_and_no_others() -> None:
    payloads = DELERIA.payloads(1)
    marks = Marks.of(payloads)
    for slot, payload in enumerate(payloads):
        assert marks.fit(slot, memoryview(payload), wholly=True)
        assert marks.fit(slot + BUFFERS, payload, wholly=True)
        assert not marks.fit(slot + 1, payload, wholly=False)
        assert not marks.fit(slot, payload[:-1], wholly=False)


def test_damage_inside_is_found_when_compared_wholly() -> None:
    payloads = DELERIA.payloads(1)
    marks = Marks.of(payloads)
    damaged = b'\0' + payloads[0][1:] if payloads[0][0] else b'\1' + payloads[0][1:]
    assert marks.fit(0, damaged, wholly=False)
    assert not marks.fit(0, damaged, wholly=True)
