"""Parsl executors that know of channels, to use in a `parsl.Config` beside any other."""

from parsl_streaming.executors.htex import StreamingExecutor
from parsl_streaming.executors.retry import streaming_retry_handler
from parsl_streaming.executors.threads import StreamingThreadPoolExecutor

__all__ = ['StreamingExecutor', 'StreamingThreadPoolExecutor', 'streaming_retry_handler']
