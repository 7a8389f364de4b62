from __future__ import annotations

from dataclasses import replace

from parsl_streaming.codecs import Codecs
from parsl_streaming.letters import open_letters
from parsl_streaming.membership import Channel
from parsl_streaming.packing import OpenBatch
from parsl_streaming.packing import Packer
from parsl_streaming.packing import channel_id
from parsl_streaming.seam import Batch
from parsl_streaming.seam import Flag
from parsl_streaming.spec import ChannelSpec

CHANNEL = Channel(ChannelSpec(name='c', source='a', target='b'), bytes(32))
ORIGIN = ['p', 2, 17, 5, 'cannot be parsed']


def letter(value: object, *, pickle: bool = False) -> Batch:
    codec, meta, data = Codecs('c', pickle=pickle).encode(value)
    batch = OpenBatch()
    batch.add(data, (codec, meta, 'k', {'run': 7}, ORIGIN))
    return Packer('r', 1, channel_id('s', 'c'), bytes(32)).pack(batch, flags=Flag.DEAD)


def test_a_letter_opens_with_all_it_carried() -> None:
    (opened,) = open_letters([letter([1, 2])], 's', CHANNEL)
    assert opened.id == ('p', 2, 17)
    assert (opened.reason, opened.deliveries) == ('cannot be parsed', 5)
    assert (opened.key, opened.headers, opened.value) == ('k', {'run': 7}, [1, 2])
    assert opened.data == b'\x92\x01\x02'


def test_a_letter_that_cannot_be_decoded_keeps_its_payload() -> None:
    (opened,) = open_letters([letter({1}, pickle=True)], 's', CHANNEL)
    assert opened.value is None
    assert opened.data.startswith(b'\x80')


def test_a_letter_that_cannot_be_opened_keeps_what_travelled() -> None:
    damaged = replace(letter('x'), body=b'damaged')
    first, second = open_letters([damaged, letter('y')], 's', CHANNEL)
    assert (first.id, first.value, first.data) == (('r', 1, -1), None, b'damaged')
    assert first.reason
    assert second.value == 'y'
