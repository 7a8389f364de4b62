"""What an end needs to use its channel in the broker, out of the route and its secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import Self

from parsl_streaming_mss.connect import Endpoint
from parsl_streaming_mss.keys import Keys
from parsl_streaming_mss.script import Scripts


@dataclass(frozen=True, slots=True)
class Access:
    """A channel's place in a broker.

    Attributes:
        endpoint: Where the broker is, and as whom.
        keys: The names of the channel's keys.
        scripts: How to call the Lua library there.
    """

    endpoint: Endpoint
    keys: Keys
    scripts: Scripts

    @classmethod
    def of(cls, channel: str, public: Mapping[str, Any], secrets: Mapping[str, Any]) -> Self:
        """The access that `provision` published.

        Args:
            channel: The channel's name.
            public: `Provision.public`.
            secrets: `Provision.secrets`.
        """
        endpoint = Endpoint(
            public['host'],
            public['port'],
            public['tls'],
            secrets['user'],
            secrets['password'],
            secrets['authorities'],
        )
        scripts = Scripts(functions=public['functions'])
        return cls(endpoint, Keys.of(channel, public['run']), scripts)
