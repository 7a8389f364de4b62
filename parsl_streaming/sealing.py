"""Sealing: AES-256-GCM, once, end to end. `docs/security.md` states the protocol.

A sender derives its key from the channel's secret and a random salt, and seals
the batches 1, 2, 3... with the batch number as nonce. Readers derive the same
key from the salt in the head. A salt is drawn anew for every opening of an end
and before the limits of a key, so no nonce is ever used twice with a key.
"""

from __future__ import annotations

import os
import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from parsl_streaming.errors import IntegrityError
from parsl_streaming.seam import Buffer

TAG_BYTES: Final = 16
SALT_BYTES: Final = 16
SECRET_BYTES: Final = 32
MAX_BATCHES_PER_KEY: Final = 1 << 32
MAX_BYTES_PER_KEY: Final = 1 << 40
MAX_KEPT_KEYS: Final = 1024
_NONCE: Final = struct.Struct('>IQ')
_INDEX, _BODY = 0, 1


def derive_key(secret: bytes, salt: bytes, channel: bytes) -> AESGCM:
    """The sender's key: HKDF-SHA-256 of the channel's secret (RFC 5869)."""
    kdf = HKDF(SHA256(), 32, salt, b'parsl-streaming/1 sender key' + channel)
    return AESGCM(kdf.derive(secret))


class Sealer:
    """Seals the batches of one sender.

    Args:
        secret: The channel's secret, 32 bytes.
        channel: Eight bytes that stand for the channel.
    """

    def __init__(self, secret: bytes, channel: bytes) -> None:
        self._secret = secret
        self._channel = channel
        self._number = 0
        self._rekey()

    def _rekey(self) -> None:
        self.salt = os.urandom(SALT_BYTES)
        self._key = derive_key(self._secret, self.salt, self._channel)
        self._first = self._number + 1
        self._bytes = 0

    def start(self, number: int, nbytes: int) -> bytes:
        """Begin the batch of this number; returns the salt of the key that will seal it.

        Raises:
            ValueError: The number does not rise, so its nonce would repeat.
        """
        if number <= self._number:
            msg = f'batch number {number} was sealed already'
            raise ValueError(msg)
        if number - self._first >= MAX_BATCHES_PER_KEY or self._bytes > MAX_BYTES_PER_KEY:
            self._rekey()
        self._number = number
        self._bytes += nbytes
        return self.salt

    def seal_index(self, index: bytes) -> bytes:
        """The index as ciphertext and tag."""
        return self._key.encrypt(_NONCE.pack(_INDEX, self._number), index, None)

    def seal_body(self, body: Buffer, head: bytes) -> bytes:
        """The body as ciphertext and tag, bound to its head."""
        return self._key.encrypt(_NONCE.pack(_BODY, self._number), body, head)

    def __repr__(self) -> str:
        return 'Sealer(...)'


class Opener:
    """Opens the batches of every sender of a channel.

    Args:
        secret: The channel's secret, 32 bytes.
        channel: Eight bytes that stand for the channel.
    """

    def __init__(self, secret: bytes, channel: bytes) -> None:
        self._secret = secret
        self._channel = channel
        self._keys: dict[bytes, AESGCM] = {}

    def open(
        self, salt: bytes, number: int, index: Buffer, head: Buffer, body: Buffer
    ) -> tuple[bytes, bytes]:
        """The index and the body in clear.

        Raises:
            IntegrityError: Forged, damaged, or sealed for another channel.
        """
        key = self._key(salt)
        try:
            clear = key.decrypt(_NONCE.pack(_INDEX, number), index, None)
            return clear, key.decrypt(_NONCE.pack(_BODY, number), body, head)
        except InvalidTag:
            msg = f'batch {number} cannot be opened: damaged, forged or of another channel'
            raise IntegrityError(msg) from None

    def _key(self, salt: bytes) -> AESGCM:
        key = self._keys.get(salt)
        if key is None:
            # Forged heads carry any salt: keys are few, so start again rather than grow.
            if len(self._keys) >= MAX_KEPT_KEYS:
                self._keys.clear()
            key = self._keys[salt] = derive_key(self._secret, salt, self._channel)
        return key

    def __repr__(self) -> str:
        return f'Opener(senders={len(self._keys)})'
