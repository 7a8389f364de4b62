"""For tests: an in-memory architecture, and sessions that use it."""

from parsl_streaming.architectures import register
from parsl_streaming.testing.memory import MemoryStreaming

register(MemoryStreaming.name, MemoryStreaming)

__all__ = ['MemoryStreaming']
