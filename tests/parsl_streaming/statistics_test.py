from __future__ import annotations

import msgpack
import pytest

from parsl_streaming.statistics import ChannelStatistics
from parsl_streaming.statistics import ReaderStatistics
from parsl_streaming.statistics import WriterStatistics
from parsl_streaming.statistics import as_dict


def report(channel: ChannelStatistics, role: str, end: str, counters: object) -> None:
    """As the registry gets it: through msgpack."""
    data = msgpack.packb(as_dict(counters))  # type: ignore[arg-type]
    channel.record(role, end, msgpack.unpackb(data, strict_map_key=False))


def test_counters_travel() -> None:
    channel = ChannelStatistics()
    writer = WriterStatistics(messages=3, nbytes=30, blocked=0.5)
    reader = ReaderStatistics(messages=2, damaged=1)
    reader.latencies.add(0.25, 2)
    report(channel, 'writer', 'p#1', writer)
    report(channel, 'reader', 'r#1', reader)
    assert channel.writers == {'p#1': writer}
    assert channel.readers['r#1'].latencies.as_dict() == reader.latencies.as_dict()
    assert channel.readers['r#1'].damaged == 1


def test_the_newest_counters_count() -> None:
    channel = ChannelStatistics()
    for messages in (1, 5):
        report(channel, 'writer', 'p#1', WriterStatistics(messages=messages))
    report(channel, 'writer', 'p#2', WriterStatistics(messages=10))
    assert channel.sent == 15


def test_a_channel_is_the_sum_of_its_ends() -> None:
    channel = ChannelStatistics()
    for name, first in (('a', 100.0), ('b', 90.0), ('c', 0.0)):
        report(channel, 'writer', name, WriterStatistics(messages=5, dropped=1, first=first))
    for name, last in (('x', 110.0), ('y', 0.0)):
        counters = ReaderStatistics(
            messages=7,
            nbytes=70,
            redelivered=2,
            duplicates=1,
            dead_letters=3,
            damaged=4,
            last=last,
        )
        counters.latencies.add(1.0)
        report(channel, 'reader', name, counters)
    assert (channel.sent, channel.dropped) == (15, 3)
    assert (channel.messages, channel.nbytes, channel.redelivered) == (14, 140, 4)
    assert (channel.duplicates, channel.dead_letters, channel.damaged) == (2, 6, 8)
    assert channel.seconds == 20.0
    assert channel.latencies.quantile(0.5) == pytest.approx(1.0, rel=0.045)


def test_a_channel_that_moved_nothing_took_no_time() -> None:
    assert ChannelStatistics().seconds == 0.0
    assert ChannelStatistics().latencies.quantile(0.5) is None
