"""What a writer does once: make its streams, and fence every older incarnation."""

from __future__ import annotations

from typing import Any

from parsl_streaming.errors import ProducerFenced
from parsl_streaming.seam import EndContext
from parsl_streaming_mss.access import Access
from parsl_streaming_mss.entry import LAST_ID
from parsl_streaming_mss.errors import checked
from parsl_streaming_mss.line import Line
from parsl_streaming_mss.resp import Argument
from parsl_streaming_mss.resp import ErrorReply


def open_streams(line: Line, access: Access, end: EndContext, streams: list[str]) -> None:
    """Make the streams of an incarnation, and fence the older ones.

    Each incarnation first enters its streams and then looks for others, in one
    transaction: of two that open at once, at least one sees the other.

    Raises:
        ProducerFenced: A newer incarnation is open.
    """
    keys = access.keys
    # A channel may have thousands of producers: the set of its streams is not for each to read.
    mine = keys.streams_of(end.name)
    extras = [mine, keys.counters(end.name, end.epoch), keys.replies(end.name, end.epoch)]
    commands: list[list[Argument]] = [['MULTI']]
    for stream in streams:
        # An empty stream can only be made through a group.
        commands.append(['XGROUP', 'CREATE', stream, 'none', '0', 'MKSTREAM'])
        commands.append(['XGROUP', 'DESTROY', stream, 'none'])
    commands.append(['SADD', keys.extras, *extras])
    commands.append(['SADD', keys.streams, *streams])
    commands.append(['SADD', mine, *streams])
    commands.append(['SMEMBERS', mine])
    results = _execute(line, commands, f'opening producer {end.name!r} at {line.endpoint}')
    _fence(line, access, end, [bytes(stream).decode() for stream in results[-1]])


def _fence(line: Line, access: Access, end: EndContext, streams: list[str]) -> None:
    commands: list[list[Argument]] = [['MULTI']]
    for stream in streams:
        epoch = access.keys.name_of(stream).epoch
        if epoch > end.epoch:
            msg = (
                f'producer {end.name!r} of channel {end.channel.name!r}: epoch {epoch} is open, '
                f'so epoch {end.epoch} must stop'
            )
            raise ProducerFenced(msg)
        if epoch < end.epoch:
            commands.append(['XADD', stream, LAST_ID, 'fence', end.epoch])
            commands.append(['XDEL', stream, LAST_ID])
    if len(commands) > 1:
        _execute(line, commands, f'fencing producer {end.name!r} at {line.endpoint}')


def _execute(line: Line, commands: list[list[Argument]], doing: str) -> list[Any]:
    """Run a transaction. Errors of single commands (it is fenced already) are results."""
    replies = line.ask(*commands, ['EXEC'])
    for reply in replies:
        checked(reply, doing)
    results: list[Any] = replies[-1]
    checked(results[-1] if not _is_repeat(results[-1]) else None, doing)
    return results


def _is_repeat(reply: object) -> bool:
    return isinstance(reply, ErrorReply) and 'ID' in reply.text
