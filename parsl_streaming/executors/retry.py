"""Which failures of a streaming task are worth another try."""

from __future__ import annotations

import math
from typing import Any
from typing import Final

from parsl_streaming import errors

_LASTING: Final = (
    errors.ConfigError,
    errors.UsageError,
    errors.CodecError,
    errors.ChannelClosed,
    errors.ChannelAborted,
    errors.ProducerFenced,
    errors.ProducerNameTaken,
    errors.NoRoute,
    errors.VersionMismatch,
    errors.NotAuthorised,
    errors.BrokerDataLost,
    errors.BrokerUnsuitable,
)
"""What will be the same the next time."""


def streaming_retry_handler(exception: Exception, task_record: Any) -> float:
    """What a failure costs, for `parsl.Config(retry_handler=...)`.

    A lost worker, connection, broker or registry costs one of the `Config`'s `retries`, as
    does an exception of the app's own. What would fail in the same way again (a wrong
    configuration or version, a refused key, a channel that has ended or was aborted) ends the
    task.

    Args:
        exception: What the task failed with.
        task_record: Parsl's record of the task.

    Returns:
        1, or infinity.
    """
    del task_record
    return math.inf if isinstance(exception, _LASTING) else 1.0
