from __future__ import annotations

from typing import Any

from parsl_streaming.bench.plan import Plan
from parsl_streaming.bench.tally import Tally
from parsl_streaming.bench.tally import accounts
from parsl_streaming.bench.workloads import BUFFERS
from parsl_streaming.bench.workloads import Marks
from parsl_streaming.spec import Pattern


def make_plan(pattern: Pattern = Pattern.WORK_SHARING, consumers: int = 2) -> Plan:
    return Plan(
        architecture='dts',
        workload='deleria',
        pattern=pattern,
        producers=2,
        consumers=consumers,
        messages=16,
    )


def receive(plan: Plan, numbers: list[tuple[int, int]]) -> dict[str, Any]:
    """What a consumer says that received these (producer, number)."""
    payloads = plan.load.payloads(1)
    tally = Tally(plan, Marks.of(payloads))
    for producer, number in numbers:
        tally.take(producer, number, payloads[(producer + number) % BUFFERS])
    return tally.result()


def all_of(plan: Plan) -> list[tuple[int, int]]:
    return [(p, n) for p in range(plan.producers) for n in range(plan.count(p))]


def test_nothing_is_amiss_when_everything_comes_once() -> None:
    plan = make_plan()
    numbers = all_of(plan)
    results = [receive(plan, numbers[::2]), receive(plan, numbers[1::2])]
    assert accounts(plan, results) == {'lost': 0, 'duplicated': 0}
    assert sum(result['messages'] for result in results) == plan.messages
    assert [result['corrupt'] for result in results] == [0, 0]


def test_what_is_missing_or_comes_twice_is_counted() -> None:
    plan = make_plan()
    numbers = all_of(plan)
    results = [receive(plan, numbers[2:]), receive(plan, numbers[-3:])]
    assert accounts(plan, results) == {'lost': 2, 'duplicated': 3}


def test_every_reader_of_a_broadcast_must_get_everything() -> None:
    plan = make_plan(Pattern.BROADCAST)
    numbers = all_of(plan)
    results = [receive(plan, numbers), receive(plan, numbers[1:] + numbers[-1:])]
    assert accounts(plan, results) == {'lost': 1, 'duplicated': 1}


def test_a_wrong_payload_is_corrupt() -> None:
    plan = make_plan()
    payloads = plan.load.payloads(1)
    tally = Tally(plan, Marks.of(payloads))
    tally.take(0, 0, payloads[1])
    tally.take(0, 1, payloads[1][:-1])
    assert tally.result()['corrupt'] == 2


def test_the_warm_up_is_not_timed() -> None:
    plan = make_plan()
    result = receive(plan, [(0, number) for number in range(plan.warm_up)])
    assert (result['messages'], result['first'], result['last']) == (0, 0.0, 0.0)
