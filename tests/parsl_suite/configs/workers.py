"""Our executor of worker processes, for Parsl's own tests."""

from parsl.config import Config
from parsl.providers import LocalProvider

from parsl_streaming.executors import StreamingExecutor
from parsl_streaming.executors import streaming_retry_handler


def fresh_config() -> Config:
    executor = StreamingExecutor(
        label='htex',
        address='127.0.0.1',
        max_workers_per_node=2,
        cores_per_worker=0.1,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    return Config(executors=[executor], strategy_period=0.5, retry_handler=streaming_retry_handler)
