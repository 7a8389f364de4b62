"""DTS, direct streaming: ZeroMQ from producer to consumer, no hop between.

Needs libzmq 4.3.5 or newer, with CURVE (every pyzmq wheel since 25.1 has it).
"""

from parsl_streaming_dts.architecture import DirectStreaming

__all__ = ['DirectStreaming']
