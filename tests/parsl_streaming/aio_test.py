from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest

import parsl_streaming
import parsl_streaming.testing
from parsl_streaming import aio
from parsl_streaming.errors import ChannelAborted

CONFIG = {
    'sites': {'a': {'network': 'n'}},
    'channels': {
        'frames': {'from': 'a', 'to': 'submit'},
        'questions': {'from': 'a', 'to': 'submit', 'pattern': 'feedback'},
    },
}


async def _send(count: int) -> None:
    async with aio.writer('frames') as frames:
        for i in range(count):
            await frames.send(i)
        await frames.flush()
        assert frames.statistics().messages == count


async def _receive() -> list[int]:
    async with aio.reader('frames') as frames:
        values = [message.value async for message in frames]
        assert frames.statistics().messages == len(values)
    return values


def test_async_ends_stream_side_by_side() -> None:
    async def both() -> list[int]:
        received, _ = await asyncio.gather(_receive(), _send(50))
        return received

    with parsl_streaming.load(CONFIG, architecture='memory'):
        assert asyncio.run(both()) == list(range(50))


def test_a_request_awaits_its_reply() -> None:
    async def answer() -> None:
        async with aio.reader('questions') as questions:
            async for question in questions:
                question.reply(question.value * 2)

    async def ask() -> list[int]:
        async with aio.writer('questions') as questions:
            return [await questions.request(i) for i in range(3)]

    async def both() -> list[int]:
        replies, _ = await asyncio.gather(ask(), answer())
        return replies

    with parsl_streaming.load(CONFIG, architecture='memory'):
        assert asyncio.run(both()) == [0, 2, 4]


def test_an_error_in_the_body_aborts_the_stream() -> None:
    async def fail() -> None:
        async with aio.writer('frames') as frames:
            await frames.send(1)
            msg = 'camera lost'
            raise ValueError(msg)

    async def both() -> None:
        await asyncio.gather(_receive(), _failing(fail()))

    with (
        parsl_streaming.load(CONFIG, architecture='memory'),
        pytest.raises(ChannelAborted, match='camera lost'),
    ):
        asyncio.run(both())


async def _failing(body: Coroutine[None, None, None]) -> None:
    with pytest.raises(ValueError, match='camera lost'):
        await body


def test_an_end_must_be_opened_first() -> None:
    with pytest.raises(RuntimeError, match='async with'):
        _ = aio.reader('frames').end
