"""What the session sees: provisioning, users, facilities' brokers, refusals."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parsl_streaming.errors import BrokerUnsuitable
from parsl_streaming.errors import ConfigError
from parsl_streaming.errors import NotAuthorised
from parsl_streaming.errors import ProducerFenced
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Durability
from parsl_streaming.spec import Site
from parsl_streaming_mss import ManagedStreaming
from parsl_streaming_mss.connect import Endpoint
from parsl_streaming_mss.connect import connect
from parsl_streaming_mss.resp import ErrorReply


def test_a_route_holds_no_secret(stage: Any) -> None:
    provision = stage().provision
    assert provision.secrets['password'] not in repr(provision.public)
    assert provision.public['host'] == '127.0.0.1'
    assert provision.public['tls'] is False


def test_a_channels_user_reaches_its_own_keys_only(stage: Any) -> None:
    one, other = stage(), stage(name='other')
    access = one.architecture._channels['frames']
    user = Endpoint(
        one.provision.public['host'],
        one.provision.public['port'],
        user=one.provision.secrets['user'],
        password=one.provision.secrets['password'],
    )
    foreign = other.architecture._channels['other'].keys.streams
    with closing(connect(user)) as connection:
        own, theirs, config, evaluate = connection.ask(
            ['SMEMBERS', access.keys.streams],
            ['SMEMBERS', foreign],
            ['CONFIG', 'GET', 'dir'],
            ['EVAL', 'return 1', 0],
        )
    assert own == []
    for reply in (theirs, config, evaluate):
        assert isinstance(reply, ErrorReply)
        assert reply.code == 'NOPERM'


def test_a_facilitys_broker_serves_by_its_url(
    architecture: ManagedStreaming, stage: Any, tools: Any
) -> None:
    (broker,) = architecture._brokers.values()
    where = f'{broker.endpoint.host}:{broker.endpoint.port}'
    facility = ManagedStreaming(url=f'redis://:{broker.endpoint.password}@{where}')
    here = stage(architecture=facility)
    here.declare('r')
    tools.store(here.writer(), tools.make_batch(1))
    assert tools.numbers(tools.take(here.reader(), 1)) == [1]
    disk = replace(here.channel, name='disk', durability=Durability.DISK)
    with pytest.raises(BrokerUnsuitable, match='appendonly yes'):
        facility.provision(disk, Site(name='a'), Site(name='b'))
    here.close()
    here.ends.clear()
    facility.close()
    assert broker.pid is not None


def test_a_user_that_may_not_make_users_serves_itself(
    architecture: ManagedStreaming, stage: Any, tools: Any
) -> None:
    (broker,) = architecture._brokers.values()
    rules = ['on', '>facility', '~*', '+@all', '-acl']
    with closing(connect(broker.endpoint)) as connection:
        assert connection.ask(['ACL', 'SETUSER', 'guest', *rules]) == [b'OK']
        connection.ask(['ACL', 'SETUSER', 'guest', '-function'])  # Unknown before 7.0.
    where = f'{broker.endpoint.host}:{broker.endpoint.port}'
    here = stage(architecture=ManagedStreaming(url=f'redis://guest:facility@{where}'))
    here.declare('r')
    assert here.provision.secrets['user'] == 'guest'
    assert here.provision.public['functions'] is False
    tools.store(here.writer(), tools.make_batch(1))
    tools.acknowledge(here.reader(), tools.take(here.ends[-1], 1))
    new = here.writer(epoch=1)
    with pytest.raises(ProducerFenced):
        tools.store(here.ends[0], tools.make_batch(2))
    tools.store(new, tools.make_batch(1, epoch=1))
    assert tools.waiting(new) == 0


def test_a_wrong_password_is_told(architecture: ManagedStreaming) -> None:
    (broker,) = architecture._brokers.values()
    where = f'{broker.endpoint.host}:{broker.endpoint.port}'
    facility = ManagedStreaming(url=f'redis://:wrong@{where}')
    with pytest.raises(NotAuthorised, match='check user and password') as caught:
        facility.provision(make_channel(), Site(name='a'), Site(name='b'))
    assert 'wrong@' not in str(caught.value)


def test_a_password_comes_from_a_file_and_is_shown_nowhere(
    architecture: ManagedStreaming, stage: Any, tmp_path: Path
) -> None:
    (broker,) = architecture._brokers.values()
    password = broker.endpoint.password
    secret = tmp_path / 'secret'
    secret.touch(0o600)
    secret.write_text(f'{password}\n')
    url = f'redis://default@{broker.endpoint.host}:{broker.endpoint.port}/0'
    facility = ManagedStreaming(url=url, password_file=str(secret))
    here = stage(architecture=facility)
    secret.unlink()  # It is read once.
    other = facility.provision(replace(here.channel, name='other'), Site(name='a'), Site(name='b'))
    assert other.secrets['password'] != password
    shown = repr((here.provision.public, facility._channels, facility._administrator))
    assert password not in shown
    facility.release(replace(here.channel, name='other'))


def test_a_password_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / 'secret'
    secret.write_text('s3cret')
    secret.chmod(0o644)
    facility = ManagedStreaming(url='redis://h', password_file=secret)
    with pytest.raises(NotAuthorised, match='chmod 600'):
        facility.provision(make_channel(), Site(name='a'), Site(name='b'))


@pytest.mark.parametrize(
    ('options', 'why'),
    [
        ({'password_file': 'p'}, 'needs a url'),
        ({'password_file': 'p', 'url': 'redis://u:secret@h'}, 'without a password'),
        ({'ca_file': 'c', 'url': 'redis://h'}, 'rediss://'),
        ({'ca_file': 'c'}, 'rediss://'),
    ],
)
def test_options_that_do_not_fit_are_told(options: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        ManagedStreaming(**options)
    assert 'secret' not in str(caught.value)


def make_channel() -> Any:
    return ChannelSpec(name='frames', source='a', target='b')


def test_a_wrong_url_is_told() -> None:
    with pytest.raises(ConfigError, match='redis'):
        ManagedStreaming(url='amqp://h')


def test_the_embedded_broker_serves_one_network() -> None:
    own, facility = ManagedStreaming(), ManagedStreaming(url='redis://h')
    near, far = Site(name='a'), Site(name='b', network='elsewhere')
    assert own.refuse(make_channel(), near, near) is None
    assert 'set the url' in (own.refuse(make_channel(), near, far) or '')
    assert facility.refuse(make_channel(), near, far) is None


@pytest.mark.parametrize('address', ['192.0.2.17', 'eth0', 'node7.example.org', '2001:db8::1'])
def test_the_embedded_broker_serves_one_host(address: str) -> None:
    own, facility = ManagedStreaming(), ManagedStreaming(url='rediss://h')
    here, there = Site(name='a'), Site(name='b', addresses=('127.0.0.1', address))
    for sites in ((here, there), (there, here)):
        reason = own.refuse(make_channel(), *sites) or ''
        assert f"no TLS, so it serves one host, but 'b' declares {address}" in reason
        assert 'rediss://' in reason
        assert facility.refuse(make_channel(), *sites) is None


@pytest.mark.parametrize('address', ['127.0.0.1', '127.0.0.2', '::1', 'localhost'])
def test_the_embedded_broker_serves_loopback(address: str) -> None:
    site = Site(name='a', addresses=(address,))
    assert ManagedStreaming().refuse(make_channel(), site, site) is None


def test_the_embedded_broker_never_listens_elsewhere() -> None:
    own = ManagedStreaming()
    far = Site(name='a', addresses=('0.0.0.0', 'localhost'))
    provision = own.provision(make_channel(), far, far)
    own.close()
    assert provision.public['host'] == 'localhost'
