from __future__ import annotations

import pytest
import zmq

from parsl_streaming.errors import UsageError
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Durability
from parsl_streaming.spec import Site
from parsl_streaming_dts import DirectStreaming

CHANNEL = ChannelSpec(name='c', source='a', target='b')


@pytest.mark.parametrize(
    ('source', 'target', 'carries'),
    [
        (Site(name='a', network='n'), Site(name='b', network='n'), True),
        (Site(name='a', network='n'), Site(name='b', network='m', inbound=True), True),
        (Site(name='a', network='n', inbound=True), Site(name='b', network='m'), False),
    ],
)
def test_readers_must_be_reachable(source: Site, target: Site, *, carries: bool) -> None:
    reason = DirectStreaming().refuse(CHANNEL, source, target)
    assert (reason is None) == carries
    assert carries or 'inbound = true in [sites.b]' in str(reason)


def test_it_promises_no_more_than_it_keeps() -> None:
    it = DirectStreaming()
    assert it.durabilities == {Durability.NONE}
    assert not it.can_replay


def test_nothing_is_started_and_nothing_is_left() -> None:
    it = DirectStreaming()
    site = Site(name='a')
    provision = it.provision(CHANNEL, site, site)
    assert (provision.public, provision.secrets) == ({}, {})
    assert it.dead_letters(CHANNEL) == []
    it.release(CHANNEL)
    it.close()


@pytest.mark.parametrize('role', ['open_reader', 'open_writer'])
def test_an_old_libzmq_is_refused(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zmq, 'zmq_version_info', lambda: (4, 3, 4))
    with pytest.raises(UsageError, match='too old'):
        getattr(DirectStreaming(), role)(None)
