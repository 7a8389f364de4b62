"""Our executor of threads, for Parsl's own tests."""

from parsl.config import Config

from parsl_streaming.executors import StreamingThreadPoolExecutor


def fresh_config() -> Config:
    return Config(executors=[StreamingThreadPoolExecutor(max_threads=2)])
