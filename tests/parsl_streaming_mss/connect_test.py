"""Addresses of brokers, and the brokers that are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_streaming import errors
from parsl_streaming_mss.connect import Endpoint
from parsl_streaming_mss.connect import check_suitable
from parsl_streaming_mss.connect import connect
from parsl_streaming_mss.errors import broker_error
from parsl_streaming_mss.keys import Keys
from parsl_streaming_mss.resp import ErrorReply


def test_urls() -> None:
    assert Endpoint.of_url('redis://h') == Endpoint('h', 6379)
    full = Endpoint.of_url('rediss://u:p%40ss@h.example:7000/0')
    assert full == Endpoint('h.example', 7000, tls=True, user='u', password='p@ss')
    assert 'p@ss' not in repr(full)


@pytest.mark.parametrize(
    'url', ['http://h', 'redis://', 'redis://h/1', 'redis://h:99999', 'redis://h?db=1', 'h:6379']
)
def test_wrong_urls_are_refused_without_telling_the_password(url: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        Endpoint.of_url(url.replace('//h', '//u:secret@h'))
    assert 'secret' not in str(caught.value)


def test_nobody_answers(free_port: Any) -> None:
    with pytest.raises(errors.BrokerUnavailable, match='check that it runs'):
        connect(Endpoint('127.0.0.1', free_port()))


class FakeConnection:
    def __init__(self, **facts: str) -> None:
        facts = {
            'redis_version': '7.0.15',
            'maxmemory_policy': 'noeviction',
            'aof_enabled': '1',
        } | facts
        self._text = '\r\n'.join(f'{name}:{value}' for name, value in facts.items()).encode()

    def ask(self, *commands: Any) -> Any:
        return [self._text for _ in commands]


@pytest.mark.parametrize(
    ('facts', 'why'),
    [
        ({'redis_version': '6.0.16'}, 'too old'),
        ({'maxmemory_policy': 'allkeys-lru'}, 'noeviction'),
        ({'aof_enabled': '0'}, 'appendonly'),
    ],
)
def test_a_broker_that_could_lose_data_is_refused(facts: dict[str, str], why: str) -> None:
    with pytest.raises(errors.BrokerUnsuitable, match=why):
        check_suitable(FakeConnection(**facts), Endpoint('h', 1), durable=True)


def test_a_good_broker_is_taken() -> None:
    fake = FakeConnection(aof_enabled='0')
    assert check_suitable(fake, Endpoint('h', 1), durable=False) == '7.0.15'


@pytest.mark.parametrize(
    ('text', 'error'),
    [
        ('OOM command not allowed', errors.BrokerFull),
        ('MISCONF Errors writing to the AOF file', errors.BrokerFull),
        ('NOGROUP No such key', errors.BrokerDataLost),
        ('ERR Function not found', errors.BrokerDataLost),
        ('FENCED a newer writer is open', errors.ProducerFenced),
        ('WRONGPASS invalid username-password pair', errors.NotAuthorised),
        ('NOAUTH Authentication required.', errors.NotAuthorised),
        ('NOPERM this user has no permissions', errors.NotAuthorised),
        ('LOADING Redis is loading', errors.BrokerUnavailable),
        ("READONLY You can't write against a read only replica.", errors.BrokerUnavailable),
        ('ERR unknown command', errors.BrokerError),
    ],
)
def test_each_refusal_has_its_error(text: str, error: type[Exception]) -> None:
    found = broker_error(ErrorReply(text), 'writing to h:1')
    assert type(found) is error
    assert str(found).startswith('writing to h:1: the broker answered')


@given(st.integers(0, 64), st.text(min_size=1), st.integers(0, 2**31))
def test_a_streams_key_can_be_read_back(partition: Any, producer: Any, epoch: Any) -> None:
    keys = Keys.of('frames', 'ab12')
    name = keys.name_of(keys.stream(partition, producer, epoch))
    assert (name.partition, name.producer, name.epoch) == (partition, producer, epoch)
