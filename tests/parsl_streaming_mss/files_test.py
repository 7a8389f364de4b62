"""Files with the password and the authorities of a facility's broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from parsl_streaming.errors import ConfigError
from parsl_streaming.errors import NotAuthorised
from parsl_streaming_mss.files import read_authorities
from parsl_streaming_mss.files import read_password


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize('content', [b's3cret', b's3cret\n', b's3cret\r\n'])
def test_the_password_is_the_only_line(tmp_path: Path, content: bytes) -> None:
    assert read_password(write(tmp_path / 'secret', content)) == 's3cret'


@pytest.mark.parametrize('mode', [0o640, 0o604, 0o622])
def test_a_password_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / 'secret', b's3cret', mode)
    with pytest.raises(NotAuthorised, match='can be read by others: chmod 600') as caught:
        read_password(path)
    assert 's3cret' not in str(caught.value)


@pytest.mark.parametrize('content', [b'', b's3cret\nmore', b's3cret\xff'])
def test_what_is_no_password_is_refused_and_not_shown(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigError, match='one line') as caught:
        read_password(write(tmp_path / 'secret', content))
    assert 's3cret' not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_missing_password_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotAuthorised, match='store the password'):
        read_password(tmp_path / 'none')


@pytest.mark.parametrize('content', [b'', b'no certificate', b'\xff', None])
def test_a_file_without_certificates_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / 'ca.pem'
    if content is not None:
        write(path, content)
    with pytest.raises(ConfigError, match='no certificate'):
        read_authorities(path)
    assert path.exists() is (content is not None)
