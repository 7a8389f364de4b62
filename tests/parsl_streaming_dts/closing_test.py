"""A writer that closes does not wait for readers that have left already."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sessions import PATIENCE
from sessions import configuration

import parsl_streaming
from parsl_streaming_dts import peer
from parsl_streaming_dts import stream
from parsl_streaming_dts.writer import DirectWriter


@pytest.mark.timeout(30)
def test_no_lingering_after_the_readers_have_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[int] = []

    def read(reader: parsl_streaming.Reader) -> None:
        with reader:
            got.extend(message.value for message in reader)

    close = DirectWriter.close

    def close_after_the_reader(link: DirectWriter) -> None:
        thread.join(PATIENCE)
        close(link)

    monkeypatch.setattr(peer, 'LINGER_MS', 60_000)
    monkeypatch.setattr(stream, 'LINGER_SECONDS', 60.0)
    monkeypatch.setattr(DirectWriter, 'close', close_after_the_reader)
    with parsl_streaming.load(configuration(tmp_path, frames={}), architecture='dts'):
        thread = threading.Thread(target=read, args=(parsl_streaming.reader('frames'),))
        thread.start()
        with parsl_streaming.writer('frames') as writer:
            for i in range(10):
                writer.send(i)
    assert not thread.is_alive()
    assert got == list(range(10))
