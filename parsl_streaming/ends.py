"""Opening the ends of a channel from a ticket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parsl_streaming.architectures import find
from parsl_streaming.attendant import Attendant
from parsl_streaming.packing import Packer
from parsl_streaming.packing import Unpacker
from parsl_streaming.packing import channel_id
from parsl_streaming.reader import Output
from parsl_streaming.reader import Reader
from parsl_streaming.route import Ticket
from parsl_streaming.seam import Architecture
from parsl_streaming.seam import EndContext
from parsl_streaming.version import require_version
from parsl_streaming.writer import Writer


def open_writer(ticket: Ticket) -> Writer:
    """Open the producer's end that a ticket names.

    Raises:
        StreamingError: It cannot be opened; the message says what to do.
    """
    attendant, architecture, end = _register(ticket)
    try:
        link = architecture.open_writer(end)
        writer = Writer(ticket.route.channel, link, *_packers(end), attendant)
    except BaseException:
        attendant.close()
        raise
    attendant.attend(writer)
    return writer


def open_reader(ticket: Ticket, *, manual: bool = False, outputs: Sequence[Output] = ()) -> Reader:
    """Open the consumer's end that a ticket names.

    Args:
        ticket: The ticket.
        manual: Acknowledge nothing by itself.
        outputs: Writers of the same task.

    Raises:
        StreamingError: It cannot be opened; the message says what to do.
    """
    attendant, architecture, end = _register(ticket)
    try:
        link = architecture.open_reader(end)
        reader = Reader(
            ticket.route.channel, link, *_packers(end), attendant, manual=manual, outputs=outputs
        )
    except BaseException:
        attendant.close()
        raise
    attendant.attend(reader)
    return reader


def _register(ticket: Ticket) -> tuple[Attendant, Architecture, EndContext]:
    route = ticket.route
    require_version(route.version, 'the submit side')
    architecture = find(route.architecture)()
    attendant = Attendant(ticket)
    try:
        answer = attendant.open()
    except BaseException:
        attendant.close()
        raise
    end = EndContext(
        route.channel,
        ticket.site,
        ticket.name,
        attendant.epoch,
        ticket.group,
        ticket.start,
        route.public,
        _secrets(route.session, answer),
        attendant,
    )
    return attendant, architecture, end


def _secrets(session: str, answer: Any) -> dict[str, Any]:
    return {**answer['secrets'], 'channel': answer['secret'], 'session': session}


def _packers(end: EndContext) -> tuple[Packer, Unpacker]:
    channel, secret = end.channel, end.secrets['channel']
    stands_for = channel_id(end.secrets['session'], channel.name)
    sender = Packer(end.name, end.epoch, stands_for, secret)
    return sender, Unpacker(stands_for, secret, channel.max_body_bytes)
