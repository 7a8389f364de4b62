from __future__ import annotations

import math

import pytest

from parsl_streaming import errors
from parsl_streaming.executors import streaming_retry_handler


@pytest.mark.parametrize(
    ('error', 'cost'),
    [
        (ValueError('the app failed'), 1),
        (errors.BrokerUnavailable('gone for now'), 1),
        (errors.RegistryUnreachable('gone for now'), 1),
        (errors.ChannelTimeout('slow'), 1),
        (errors.UnknownChannel('misspelt'), math.inf),
        (errors.VersionMismatch('older'), math.inf),
        (errors.NotAuthorised('refused'), math.inf),
        (errors.ChannelAborted('incomplete'), math.inf),
        (errors.MessageTooLarge('large'), math.inf),
    ],
)
def test_what_may_go_better_costs_a_try(error: Exception, cost: float) -> None:
    assert streaming_retry_handler(error, {}) == cost
