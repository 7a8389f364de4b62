from __future__ import annotations

import pickle

import msgpack

from parsl_streaming.route import Route
from parsl_streaming.route import Ticket
from parsl_streaming.route import view_as_list
from parsl_streaming.route import view_from_list
from parsl_streaming.seam import Member
from parsl_streaming.seam import View
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Site


def ticket(role: str) -> Ticket:
    route = Route(
        session='s',
        version='1',
        channel=ChannelSpec(name='c', source='a', target='b'),
        source=Site(name='a'),
        target=Site(name='b'),
        architecture='dts',
        registry=('tcp://127.0.0.1:1',),
        registry_key='k' * 40,
    )
    return Ticket(route=route, role=role, name='n', call='call')


def test_a_ticket_travels_by_pickle() -> None:
    assert pickle.loads(pickle.dumps(ticket('writer'))) == ticket('writer')


def test_a_writer_is_at_the_source_and_a_reader_at_the_target() -> None:
    assert [ticket(role).site.name for role in ('writer', 'reader')] == ['a', 'b']


def test_a_view_travels_by_msgpack() -> None:
    contact = {'key': 'k', 'end': [b'head', b'body']}
    members = (Member('p', 'writer', 2, '', 'closed', contact), Member('r', 'reader', group='g'))
    view = View(7, members, {'g': ['r', 'r']})
    data = msgpack.packb(view_as_list(view))
    assert view_from_list(msgpack.unpackb(data, strict_map_key=False)) == view
    assert view.groups == ['g']
    assert [member.name for member in view.of('writer')] == ['p']
