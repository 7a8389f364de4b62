"""What the server's error replies mean in the words of `parsl_streaming.errors`."""

from __future__ import annotations

from typing import Final

from parsl_streaming.errors import BrokerDataLost
from parsl_streaming.errors import BrokerError
from parsl_streaming.errors import BrokerFull
from parsl_streaming.errors import BrokerUnavailable
from parsl_streaming.errors import NotAuthorised
from parsl_streaming.errors import ProducerFenced
from parsl_streaming.errors import StreamingError
from parsl_streaming_mss.resp import ErrorReply

FULL: Final = frozenset({'OOM', 'MISCONF'})
"""Codes that pass when somebody makes room: nothing of the command was done."""
_MEANINGS: Final[dict[str, tuple[type[StreamingError], str]]] = {
    'OOM': (BrokerFull, 'read and acknowledge what is stored, or raise maxmemory'),
    'MISCONF': (BrokerFull, 'free space on the disk of the broker'),
    'NOGROUP': (BrokerDataLost, 'the broker was emptied or the channel released; start it again'),
    'UNBLOCKED': (BrokerDataLost, 'the broker was emptied or the channel released; start it again'),
    'FENCED': (ProducerFenced, 'a newer writer of this producer is open; this one must stop'),
    'WRONGPASS': (NotAuthorised, 'check user and password, that is url and password_file'),
    'NOAUTH': (NotAuthorised, 'set password_file, and the user in the url'),
    'NOPERM': (NotAuthorised, 'ask the administrator of the broker for the permission'),
    'LOADING': (BrokerUnavailable, 'wait until the broker has read its files'),
    'READONLY': (BrokerUnavailable, 'use the address of the primary, not of a replica'),
}


def broker_error(reply: ErrorReply, doing: str) -> StreamingError:
    """The error to raise for an error reply.

    Args:
        reply: What the server sent.
        doing: What was tried, and where, for the message.
    """
    if 'Function not found' in reply.text:  # Only a broker that lost everything lost the library.
        reply = ErrorReply(f'NOGROUP {reply.text}')
    error, advice = _MEANINGS.get(reply.code, (BrokerError, 'see the log of the broker'))
    return error(f'{doing}: the broker answered {reply.text!r}; {advice}')


def checked(reply: object, doing: str) -> object:
    """The reply, unless it is an error.

    Raises:
        StreamingError: What the error reply means.
    """
    if isinstance(reply, ErrorReply):
        raise broker_error(reply, doing)
    return reply
