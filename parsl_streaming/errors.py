"""The errors of parsl-streaming: one small tree, one meaning each.

Every message says what failed, where, and what to do about it.
"""

from __future__ import annotations


class StreamingError(Exception):
    """Anything that parsl-streaming raises on purpose."""


class ConfigError(StreamingError):
    """The configuration is wrong; the message names file, key and allowed values."""


class UsageError(StreamingError):
    """The library is used wrongly: decorator order, an unknown name, an end used twice."""


class CapacityError(UsageError):
    """More streaming tasks than workers: they would wait for each other for ever."""


class UnknownChannel(UsageError):
    """No channel of this name is configured."""


class UnknownSite(UsageError):
    """No site of this name is configured."""


class CodecError(StreamingError):
    """A value cannot be encoded, or a payload cannot be decoded, by the channel's codecs."""


class MessageTooLarge(CodecError):
    """A message exceeds the channel's `max_message_bytes`."""


class ChannelError(StreamingError):
    """A channel cannot do what was asked of it now."""


class ChannelClosed(ChannelError):
    """This end was closed, by the caller or because the session ended."""


class ChannelFull(ChannelError):
    """No reader gave credit within the timeout; nothing was lost, the message was not accepted."""


class ChannelTimeout(ChannelError):
    """A bounded wait (flush, read, reply, close) ran out."""


class EndOfStream(ChannelError):
    """Every writer has ended; no message will come. Loops end by themselves."""


class ChannelAborted(ChannelError):
    """A writer of the channel failed for good: the stream is incomplete."""


class ProducerFenced(ChannelError):
    """A newer writer took over this producer's name; this one must stop."""


class ProducerNameTaken(ChannelError):
    """Another live writer already uses this producer name on the channel."""


class RequestRejected(ChannelError):
    """A reader rejected a request, or settled it without a reply."""


class LinkError(StreamingError):
    """The path between the ends failed."""


class NoRoute(LinkError):
    """No architecture could be opened for the channel; the message lists each refusal."""


class RegistryUnreachable(LinkError):
    """The registry that matches the ends did not answer."""


class VersionMismatch(LinkError):
    """The two sides run different versions of parsl_streaming."""


class NotAuthorised(LinkError):
    """The peer refused this end's key, or the key may not use this channel in this role."""


class IntegrityError(LinkError):
    """A batch was damaged, forged or not of this protocol; it is never delivered."""


class BrokerError(LinkError):
    """The broker refused a command."""


class BrokerUnavailable(BrokerError):
    """No broker: no server program was found, it did not start, or it does not answer."""


class BrokerFull(BrokerError):
    """The broker is out of memory or disk; nothing acknowledged was lost."""


class BrokerDataLost(BrokerError):
    """The broker lost stored data: a stream or a consumer group that existed is gone."""


class BrokerUnsuitable(BrokerError):
    """The broker is too old, or configured so that it could lose data."""
