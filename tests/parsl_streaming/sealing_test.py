from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_streaming import sealing
from parsl_streaming.errors import IntegrityError
from parsl_streaming.sealing import Opener
from parsl_streaming.sealing import Sealer

SECRET, CHANNEL = bytes(range(32)), b'channel!'


def seal(sealer: Sealer, number: int, body: bytes = b'body') -> tuple[bytes, bytes, bytes]:
    salt = sealer.start(number, len(body))
    return salt, sealer.seal_index(b'index'), sealer.seal_body(body, b'head')


@given(st.binary(max_size=100))
def test_what_was_sealed_opens(body: bytes) -> None:
    salt, index, sealed = seal(Sealer(SECRET, CHANNEL), 1, body)
    assert Opener(SECRET, CHANNEL).open(salt, 1, index, b'head', sealed) == (b'index', body)
    assert len(sealed) == len(body) + sealing.TAG_BYTES


@pytest.mark.parametrize(
    'change',
    [
        {'number': 2},
        {'head': b'other'},
        {'salt': bytes(16)},
        {'index': b'index' + bytes(16)},
        {'body': b''},
        {'body': bytes(20)},
    ],
)
def test_nothing_else_opens(change: dict[str, bytes]) -> None:
    salt, index, body = seal(Sealer(SECRET, CHANNEL), 1)
    parts = {'salt': salt, 'number': 1, 'index': index, 'head': b'head', 'body': body} | change
    with pytest.raises(IntegrityError, match='cannot be opened'):
        Opener(SECRET, CHANNEL).open(**parts)  # type: ignore[arg-type]


def test_index_and_body_cannot_be_swapped() -> None:
    sealer = Sealer(SECRET, CHANNEL)
    salt = sealer.start(1, 0)
    index, body = sealer.seal_index(b'same'), sealer.seal_body(b'same', b'')
    assert index != body
    with pytest.raises(IntegrityError):
        Opener(SECRET, CHANNEL).open(salt, 1, body, b'', index)


def test_another_secret_or_channel_does_not_open() -> None:
    salt, index, body = seal(Sealer(SECRET, CHANNEL), 1)
    for secret, channel in ((bytes(32), CHANNEL), (SECRET, b'another!')):
        with pytest.raises(IntegrityError):
            Opener(secret, channel).open(salt, 1, index, b'head', body)


def test_no_nonce_is_used_twice() -> None:
    sealer = Sealer(SECRET, CHANNEL)
    sealer.start(5, 0)
    for number in (5, 4, 0):
        with pytest.raises(ValueError, match='sealed already'):
            sealer.start(number, 0)
    assert Sealer(SECRET, CHANNEL).start(5, 0) != sealer.salt


@pytest.mark.parametrize(
    ('limit', 'value', 'nbytes'), [('MAX_BATCHES_PER_KEY', 3, 0), ('MAX_BYTES_PER_KEY', 25, 10)]
)
def test_a_key_is_replaced_before_its_limit(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int, nbytes: int
) -> None:
    monkeypatch.setattr(sealing, limit, value)
    sealer, opener = Sealer(SECRET, CHANNEL), Opener(SECRET, CHANNEL)
    salts = []
    for number in range(1, 8):
        salt, index, body = seal(sealer, number, bytes(nbytes))
        assert opener.open(salt, number, index, b'head', body)[1] == bytes(nbytes)
        salts.append(salt)
    assert salts[0] == salts[2] != salts[3] == salts[5] != salts[6]


def test_forged_salts_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, 'MAX_KEPT_KEYS', 4)
    opener = Opener(SECRET, CHANNEL)
    for i in range(10):
        with pytest.raises(IntegrityError):
            opener.open(bytes([i]) * 16, 1, bytes(16), b'', bytes(16))
        assert len(opener._keys) <= 4


def test_no_secret_is_shown() -> None:
    opener = Opener(SECRET, CHANNEL)
    assert repr(opener) == 'Opener(senders=0)'
    assert 'secret' not in repr(Sealer(SECRET, CHANNEL)).lower()
