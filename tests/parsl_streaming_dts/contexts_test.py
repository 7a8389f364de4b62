"""Contexts that are used again."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import zmq

from parsl_streaming import curve
from parsl_streaming_dts import contexts as module


@pytest.fixture(autouse=True)
def none_before() -> Iterator[None]:
    module.close_kept()
    yield
    module.close_kept()


def test_a_link_gets_the_context_of_one_before() -> None:
    first, second = module.borrow(), module.borrow()
    assert first is not second
    first.give_back()
    assert module.borrow() is first
    first.give_back()
    second.give_back()
    module.close_kept()
    assert first.zmq.closed
    assert second.zmq.closed


def test_few_are_kept() -> None:
    borrowed = [module.borrow() for _ in range(module.MOST_KEPT + 1)]
    for it in borrowed:
        it.give_back()
    assert [it.zmq.closed for it in borrowed] == [False] * module.MOST_KEPT + [True]


def test_a_forked_child_has_none() -> None:
    it = module.borrow()
    it.give_back()
    child = os.fork()
    if child == 0:
        os._exit(0 if module.borrow() is not it else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert module.borrow() is it
    it.give_back()


def _enters(it: module.LinkContext, client: curve.KeyPair) -> bool:
    server = curve.KeyPair.new()
    with it.zmq.socket(zmq.ROUTER) as listening, it.zmq.socket(zmq.DEALER) as dialling:
        listening.linger = dialling.linger = 0
        curve.make_server(listening, server)
        curve.make_client(dialling, client, server.public)
        port = listening.bind_to_random_port('tcp://127.0.0.1')
        dialling.connect(f'tcp://127.0.0.1:{port}')
        dialling.send(b'hello')
        return bool(listening.poll(500))


def test_each_borrower_says_who_may_enter() -> None:
    first, second = curve.KeyPair.new(), curve.KeyPair.new()
    it = module.borrow()
    it.guard(first.public.__eq__)
    assert _enters(it, first)
    it.give_back()
    assert module.borrow() is it
    it.guard(second.public.__eq__)
    assert _enters(it, second)
    assert not _enters(it, first)
    it.give_back()
