from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_streaming.errors import ChannelClosed
from parsl_streaming.errors import ProducerNameTaken
from parsl_streaming.membership import Channel
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Pattern

END = [b'head', b'body']


def channel(**spec: object) -> Channel:
    return Channel(ChannelSpec(name='c', source='a', target='b', **spec), b'secret')  # type: ignore[arg-type]


def test_a_declared_end_opens_with_rising_epochs() -> None:
    it = channel()
    it.declare('writer', 'p', 'call', '')
    assert [member.state for member in it.view.members] == ['declared']
    assert [it.open('writer', 'p', 'call', '') for _ in range(3)] == [1, 2, 3]
    assert [(m.name, m.epoch, m.state) for m in it.view.members] == [('p', 3, 'open')]


def test_every_change_makes_a_new_view() -> None:
    it = channel()
    before = it.view
    it.open('reader', 'r', 'call', 'g')
    after = it.view
    it.set_state('reader', 'r', 1, 'open')
    assert after.version > before.version
    assert it.view is after
    assert before.members == ()


def test_a_name_belongs_to_one_call() -> None:
    it = channel()
    it.declare('writer', 'p', 'one', '')
    with pytest.raises(ProducerNameTaken, match="'p'"):
        it.open('writer', 'p', 'two', '')
    it.declare('reader', 'p', 'two', 'g')
    assert len(it.view.members) == 2


def test_news_of_an_older_epoch_is_ignored() -> None:
    it = channel()
    it.open('writer', 'p', 'call', '')
    it.open('writer', 'p', 'call', '')
    it.set_state('writer', 'p', 1, 'closed', end=END)
    it.announce('writer', 'p', 1, {'key': 'old'})
    assert not it.rejoin('writer', 'p', 1, '', {})
    member = it.find('writer', 'p')
    assert member is not None
    assert (member.state, member.contact) == ('open', {})


def test_a_retry_begins_without_the_past_of_its_epoch() -> None:
    it = channel()
    it.open('writer', 'p', 'call', '')
    it.set_state('writer', 'p', 1, 'closed', end=END)
    assert it.open('writer', 'p', 'call', '') == 2
    member = it.find('writer', 'p')
    assert member is not None
    assert 'end' not in member.contact


def test_an_end_that_was_lost_may_rejoin() -> None:
    it = channel()
    it.open('reader', 'r', 'call', 'g')
    it.announce('reader', 'r', 1, {'key': 'k'})
    it.set_state('reader', 'r', 1, 'lost')
    assert it.rejoin('reader', 'r', 1, 'g', {'key': 'k'})
    member = it.find('reader', 'r')
    assert member is not None
    assert (member.state, member.epoch, member.contact) == ('open', 1, {'key': 'k'})


def test_a_failure_concerns_whichever_epoch_is_newest() -> None:
    it = channel()
    it.open('writer', 'p', 'call', '')
    it.open('writer', 'p', 'call', '')
    it.set_state('writer', 'p', None, 'failed', reason='gone')
    it.set_state('writer', 'nobody', None, 'failed')
    member = it.find('writer', 'p')
    assert member is not None
    assert (member.state, member.contact['reason']) == ('failed', 'gone')


def test_no_writer_comes_after_the_end() -> None:
    it = channel(writers=2)
    for name in 'ab':
        it.open('writer', name, name, '')
        it.set_state('writer', name, 1, 'closed', end=END)
    with pytest.raises(ChannelClosed, match='every writer closed it, 2 in all'):
        it.declare('writer', 'c', 'c', '')
    it.declare('reader', 'late', 'r', 'g')
    assert it.find('reader', 'late') is not None


def test_a_declared_number_of_writers_keeps_the_channel_open() -> None:
    it = channel(writers=2)
    it.open('writer', 'a', 'a', '')
    it.set_state('writer', 'a', 1, 'closed', end=END)
    it.declare('writer', 'b', 'b', '')
    assert len(it.view.of('writer')) == 2


def test_no_secret_is_shown() -> None:
    it = channel()
    it.secrets = {'password': 'pa55word'}
    assert 'secret' not in repr(it).replace('secrets', '')
    assert 'pa55word' not in repr(it)


STEPS = st.lists(
    st.tuples(st.sampled_from(['open', 'closed', 'lost']), st.sampled_from('rstu')), max_size=30
)


@given(st.integers(1, 12), STEPS)
def test_partitions_are_dealt_fairly_among_open_readers(
    partitions: int, steps: list[tuple[str, str]]
) -> None:
    it = channel(pattern=Pattern.SHUFFLE, partitions=partitions)
    for step, name in steps:
        if step == 'open':
            it.open('reader', name, name, 'g')
        else:
            it.set_state('reader', name, None, step)
        open_ = {m.name for m in it.view.of('reader') if m.state == 'open'}
        holders = list(it.view.partitions.get('g', []))
        if not open_:
            assert holders == []
            continue
        assert len(holders) == partitions
        assert set(holders) <= open_
        shares = [holders.count(name) for name in open_]
        assert max(shares) <= -(-partitions // len(open_))


def test_holders_keep_what_they_can() -> None:
    it = channel(pattern=Pattern.SHUFFLE, partitions=8)
    it.open('reader', 'r', 'r', 'g')
    it.open('reader', 's', 's', 'g')
    before = list(it.view.partitions['g'])
    it.open('reader', 't', 't', 'g')
    after = list(it.view.partitions['g'])
    assert all(new in (old, 't') for old, new in zip(before, after, strict=True))
    it.set_state('reader', 't', 1, 'closed')
    last = list(it.view.partitions['g'])
    assert all(new == old for old, new in zip(after, last, strict=True) if old != 't')


def test_other_patterns_have_no_partitions() -> None:
    it = channel()
    it.open('reader', 'r', 'r', 'g')
    assert it.view.partitions == {}
