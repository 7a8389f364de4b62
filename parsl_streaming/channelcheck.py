"""Reading one channel of a configuration, and what its keys must not say together."""

from __future__ import annotations

import keyword
from collections.abc import Collection
from collections.abc import Mapping
from typing import Any
from typing import Final

from parsl_streaming.configcheck import Problems
from parsl_streaming.configcheck import Reader
from parsl_streaming.configcheck import count
from parsl_streaming.configcheck import duration
from parsl_streaming.configcheck import flag
from parsl_streaming.configcheck import member_of
from parsl_streaming.configcheck import one_of
from parsl_streaming.configcheck import size
from parsl_streaming.spec import MIB
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Durability
from parsl_streaming.spec import OnFull
from parsl_streaming.spec import Pattern
from parsl_streaming.wire import MAX_BATCH_MESSAGES

MAX_MESSAGE: Final = 1024 * MIB
"""Bytes of the largest message: it is sealed in one piece, for which AES-GCM has a limit."""
MAX_PARTITIONS: Final = 1 << 16
"""Partitions that a batch's head can number."""
MIN_LEASE: Final = 0.2
"""Seconds: ends look around every 0.1 s, so a shorter lease would declare live ones dead."""
MAX_NAME: Final = 64
"""Characters of a channel's name."""

_FIELDS: Final = {
    'from': 'source',
    'to': 'target',
    'max_message': 'max_message_bytes',
    'credit': 'credit_bytes',
    'batch': 'batch_bytes',
}
_SCHEMA: Final[Mapping[str, Reader]] = {
    'pattern': member_of(Pattern),
    'durability': member_of(Durability),
    'partitions': count(most=MAX_PARTITIONS),
    'writers': count(),
    'readers': count(),
    'sealed': flag,
    'pickle': flag,
    'replay': flag,
    'max_message': size(most=MAX_MESSAGE),
    'credit_messages': count(),
    'credit': size(),
    'batch_messages': count(most=MAX_BATCH_MESSAGES),
    'batch': size(),
    'linger': duration(),
    'max_deliveries': count(),
    'lease': duration(MIN_LEASE),
    'timeout': duration(0.001),
    'on_full': member_of(OnFull),
}


def read_channel(
    problems: Problems,
    name: str,
    value: object,
    sites: Collection[str],
    architectures: Collection[str],
) -> ChannelSpec:
    """Read one channel.

    A limit on batches that is not declared is lowered to the declared credit.

    Args:
        problems: Takes the mistakes.
        name: The channel's name.
        value: What the configuration says of it.
        sites: Names of the known sites.
        architectures: Names of the known architectures.
    """
    path = f'channels.{name}'
    if not _is_parameter(name):
        allowed = f'a parameter name of an app: an ASCII identifier of up to {MAX_NAME} characters'
        problems.add(path, f'wrong name; allowed: {allowed}')
    site = one_of(sites)
    schema = {'from': site, 'to': site, 'architecture': one_of(architectures), **_SCHEMA}
    found = problems.read(path, value, schema, required=('from', 'to'))
    # A channel without ends goes no further than the error that names all mistakes.
    declared: dict[str, Any] = {'source': '', 'target': ''}
    declared |= {_FIELDS.get(key, key): item for key, item in found.items()}
    for batch, credit in (('batch_bytes', 'credit_bytes'), ('batch_messages', 'credit_messages')):
        if credit in declared and batch not in declared:
            declared[batch] = min(ChannelSpec.__dataclass_fields__[batch].default, declared[credit])
    spec = ChannelSpec(name=name, **declared)
    _check_together(problems, path, spec)
    return spec


def _is_parameter(name: str) -> bool:
    plain = name.isascii() and name.isidentifier() and not keyword.iskeyword(name)
    return plain and len(name) <= MAX_NAME


def _check_together(problems: Problems, path: str, spec: ChannelSpec) -> None:
    """Note the keys that contradict each other."""
    shuffles = spec.pattern is Pattern.SHUFFLE
    if spec.partitions > 1 and not shuffles:
        text = f'found {spec.partitions}; allowed: 1, unless pattern = "{Pattern.SHUFFLE}"'
        problems.add(f'{path}.partitions', text)
    if shuffles and spec.readers is not None and spec.readers > spec.partitions:
        text = f'found {spec.readers}; allowed: at most partitions = {spec.partitions}'
        problems.add(f'{path}.readers', f'{text}, else readers get nothing')
    if spec.batch_bytes > spec.credit_bytes:
        text = f'found {spec.batch_bytes} bytes; allowed: at most credit = {spec.credit_bytes}'
        problems.add(f'{path}.batch', f'{text} bytes')
    if spec.batch_messages > spec.credit_messages:
        text = f'found {spec.batch_messages}; allowed: at most credit_messages'
        problems.add(f'{path}.batch_messages', f'{text} = {spec.credit_messages}')
