"""The files that an administrator gives us for a facility's broker: a password, a CA."""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path

from parsl_streaming.errors import ConfigError
from parsl_streaming.errors import NotAuthorised


def read_password(path: Path) -> str:
    """The password in a file: its only line.

    Raises:
        NotAuthorised: It cannot be read, or others can read it.
        ConfigError: It does not hold one line of text.
    """
    try:
        with path.open('rb') as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read()
    except OSError as error:
        msg = f'password file {path}: {error.strerror}; store the password of the broker there'
        raise NotAuthorised(msg) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        msg = f'password file {path} can be read by others: chmod 600 it, and change the password'
        raise NotAuthorised(msg)
    try:
        (password,) = content.decode().splitlines()
    except ValueError:  # Without its cause, whose text would show what is in the file.
        msg = f'password file {path} does not hold one line of UTF-8 text: the password'
        raise ConfigError(msg) from None
    return password


def read_authorities(path: Path) -> str:
    """The certificates (PEM) of the authorities in a file.

    Raises:
        ConfigError: It cannot be read, or holds no certificate.
    """
    try:
        text = path.read_text(encoding='ascii')
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (OSError, ValueError) as error:  # An `SSLError` is an `OSError`.
        msg = f'ca_file {path}: no certificate could be read ({error}); name a file in PEM format'
        raise ConfigError(msg) from error
    return text
