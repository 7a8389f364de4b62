"""Managed streaming: channels in Redis Streams, in a broker of ours or of a facility."""

from __future__ import annotations

from parsl_streaming_mss.architecture import ManagedStreaming

__all__ = ['ManagedStreaming']
