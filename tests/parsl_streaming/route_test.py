from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import dill
import msgpack
import pytest

from parsl_streaming.route import Route
from parsl_streaming.route import Ticket
from parsl_streaming.route import follow
from parsl_streaming.route import news_of
from parsl_streaming.route import replaced
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


@pytest.mark.parametrize('pickler', [pickle, dill])
def test_a_ticket_travels_by_pickle(pickler: Any) -> None:
    sent = replace(ticket('writer'), group='g', start='end')
    assert pickler.loads(pickler.dumps(sent)) == sent


def test_a_writer_is_at_the_source_and_a_reader_at_the_target() -> None:
    assert [ticket(role).site.name for role in ('writer', 'reader')] == ['a', 'b']


def _travelled(news: list[Any]) -> list[Any]:
    travelled: list[Any] = msgpack.unpackb(msgpack.packb(news), strict_map_key=False)
    return travelled


def test_a_view_travels_by_msgpack() -> None:
    contact = {'key': 'k', 'end': [b'head', b'body']}
    members = (Member('p', 'writer', 2, '', 'closed', contact), Member('r', 'reader', group='g'))
    view = View(7, members, {'g': ['r', 'r']})
    there = follow(View(), _travelled(news_of(view, view.members, 0)))
    assert there == view
    assert there.groups == ['g']
    assert [member.name for member in there.of('writer')] == ['p']


def test_news_replaces_what_changed_and_keeps_the_rest() -> None:
    before = View(7, (Member('p', 'writer', 1), Member('r', 'reader', group='g')))
    changed = [Member('p', 'writer', 2), Member('q', 'writer')]
    after = replaced(before, 9, changed, {'g': ['r']})
    assert follow(before, _travelled(news_of(after, changed, 7))) == after
    assert [(m.name, m.epoch) for m in after.members] == [('p', 2), ('r', 0), ('q', 0)]
    assert after.places == View(9, after.members).places
    assert before.members[0].epoch == 1


def test_news_since_the_beginning_forgets_what_was_known() -> None:
    view = View(1, (Member('p', 'writer'),))
    assert follow(View(7, (Member('gone', 'writer'),)), news_of(view, view.members, 0)) == view
