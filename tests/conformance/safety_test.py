"""Damaged and forged batches are never delivered; nothing unsafe is decoded."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from parsl_streaming.errors import CodecError
from parsl_streaming.packing import Packer
from parsl_streaming.packing import channel_id
from parsl_streaming.seam import Batch

Stages = Callable[..., Any]


def _damage_body(batch: Batch) -> Batch:
    body = bytearray(batch.body)
    body[0] ^= 1
    return replace(batch, body=bytes(body))


def _damage_head(batch: Batch) -> Batch:
    """Another sequence number: nothing that a link looks at."""
    head = bytearray(batch.head)
    head[24] ^= 1
    return replace(batch, head=bytes(head))


@pytest.mark.parametrize('sealed', [True, False], ids=['sealed', 'unsealed'])
@pytest.mark.parametrize('damage', [_damage_body, _damage_head])
def test_a_damaged_batch_is_never_delivered_and_the_others_are(
    stage: Stages, monkeypatch: pytest.MonkeyPatch, *, sealed: bool, damage: Any
) -> None:
    here = stage(sealed=sealed, batch_messages=1, max_deliveries=2)
    got = here.read()
    writer = here.writer()
    pack = writer._outbox.packer.pack

    def damaging(*args: Any, **kwargs: Any) -> Batch:
        batch: Batch = pack(*args, **kwargs)
        return damage(batch) if batch.number == 2 else batch

    monkeypatch.setattr(writer._outbox.packer, 'pack', damaging)
    for value in ('first', 'damaged', 'last'):
        writer.send(value)
        writer.flush(5)
    writer.close()
    assert got.result(10) == ['first', 'last']
    assert here.session.statistics('frames').damaged == 2
    letters = here.session.dead_letters('frames')
    assert len(letters) == 1
    assert letters[0].value is None


@pytest.mark.parametrize(
    'secret', [bytes(32), None], ids=['sealed with another secret', 'not sealed']
)
def test_a_forged_batch_is_never_delivered(stage: Stages, secret: bytes | None) -> None:
    here = stage(batch_messages=1, max_deliveries=1)
    got = here.read()
    writer = here.writer('p')
    stands_for = channel_id(here.session.id, 'frames')
    real = writer._outbox.packer
    writer._outbox.packer = Packer('p', 1, stands_for, secret)
    writer.send('forged')
    writer.flush(5)
    real.number = 1
    writer._outbox.packer = real
    writer.send('real')
    writer.close()
    assert got.result(10) == ['real']
    assert here.session.statistics('frames').damaged == 1


def test_a_pickle_is_not_decoded_where_it_is_not_declared(stage: Stages) -> None:
    here = stage()
    reader, writer = here.reader(), here.writer()
    writer._codecs._pickle = True
    writer.send({1, 2})
    message = reader.receive(5)
    with pytest.raises(CodecError, match='pickled'):
        _ = message.value
    assert pickle.loads(message.data) == {1, 2}


def test_no_secret_is_in_a_route_or_a_repr(stage: Stages) -> None:
    here = stage()
    writer = here.writer()
    channel = here.session._registry.channel('frames')
    secrets = [channel.secret, *channel.secrets.values()]
    ticket = here.session.ticket('frames', 'reader').result(5)
    shown = pickle.dumps(ticket) + repr((ticket, channel, here.session, writer)).encode()
    for secret in secrets:
        text = secret if isinstance(secret, bytes) else str(secret).encode()
        assert len(text) < 8 or text not in shown
