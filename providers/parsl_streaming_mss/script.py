"""The Lua library: a server function where the broker has functions, else scripts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Final

from parsl_streaming_mss.resp import Argument

NAMES: Final = ('settle', 'renew', 'release', 'leave', 'finish', 'state', 'drained', 'seek')
_SOURCE: Final = files('parsl_streaming_mss').joinpath('library.lua').read_text(encoding='utf-8')
# Two versions of this package may share a broker: the name follows the text.
_LIBRARY: Final = f'parsl_streaming_{hashlib.sha256(_SOURCE.encode()).hexdigest()[:12]}'
_REGISTER: Final = """
redis.register_function{{function_name='{library}_{name}', callback={name}, flags={{'allow-oom'}}}}
"""
_SCRIPTS: Final = {name: f'{_SOURCE}\nreturn {name}(KEYS, ARGV)' for name in NAMES}
_DIGESTS: Final = {
    name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    for name, text in _SCRIPTS.items()
}


class Scripts:
    """How to call the library.

    Args:
        functions: Whether the broker has functions (7.0 and newer) that we may load.
    """

    def __init__(self, *, functions: bool) -> None:
        self.functions = functions

    def call(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> list[Argument]:
        """The command that calls one function of the library."""
        if self.functions:
            return ['FCALL', f'{_LIBRARY}_{name}', len(keys), *keys, *arguments]
        return ['EVALSHA', _DIGESTS[name], len(keys), *keys, *arguments]

    def load(self) -> list[list[Argument]]:
        """The commands that load the library."""
        if not self.functions:
            return [['SCRIPT', 'LOAD', text] for text in _SCRIPTS.values()]
        register = ''.join(_REGISTER.format(library=_LIBRARY, name=name) for name in NAMES)
        return [['FUNCTION', 'LOAD', 'REPLACE', f'#!lua name={_LIBRARY}\n{_SOURCE}{register}']]
