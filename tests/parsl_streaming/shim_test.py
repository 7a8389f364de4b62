"""How the shim calls the user's function."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import dill  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_streaming.errors import UsageError
from parsl_streaming.shim import JoinShim
from parsl_streaming.shim import MapShim
from parsl_streaming.shim import PythonShim

END = object()


def first(frames: Any, a: Any, b: Any = 'b') -> Any:
    return frames, a, b


def middle(a: Any, frames: Any, b: Any = 'b', *rest: Any) -> Any:
    return frames, a, b, rest


def last(a: Any = 'a', frames: Any = None, /, b: Any = 'b', **others: Any) -> Any:
    return frames, a, b, others


def named(*rest: Any, frames: Any, a: Any = 'a') -> Any:
    return frames, rest, a


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return JoinShim(function, ('frames',), ('frames',))(*args, frames=END, **kwargs)


@pytest.mark.parametrize(
    ('function', 'args', 'kwargs', 'rest'),
    [
        (first, (1,), {}, (1, 'b')),
        (first, (1, 2), {}, (1, 2)),
        (first, (), {'b': 2, 'a': 1}, (1, 2)),
        (middle, (1,), {}, (1, 'b', ())),
        (middle, (1, 2, 3, 4), {}, (1, 2, (3, 4))),
        (middle, (1,), {'b': 2}, (1, 2, ())),
        (last, (), {'b': 2}, ('a', 2, {})),
        (last, (1, 2), {'c': 3}, (1, 2, {'c': 3})),
        (named, (1, 2), {'a': 3}, ((1, 2), 3)),
        (named, (), {}, ((), 'a')),
    ],
)
def test_binding_around_the_channel(
    function: Callable[..., Any], args: Any, kwargs: Any, rest: Any
) -> None:
    assert _call(function, *args, **kwargs) == (END, *rest)


@given(st.lists(st.integers()), st.dictionaries(st.sampled_from('pqrs'), st.integers()))
def test_what_is_given_arrives(args: list[int], kwargs: dict[str, int]) -> None:
    def app(*rest: int, frames: Any, **others: int) -> Any:
        return frames, rest, others

    assert _call(app, *args, **kwargs) == (END, tuple(args), kwargs)


@pytest.mark.parametrize(
    ('args', 'kwargs', 'said'),
    [((), {}, "'a'"), ((1, 2, 3), {}, 'too many'), ((1,), {'c': 2}, "'c'")],
)
def test_wrong_arguments_are_a_type_error(args: Any, kwargs: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        _call(first, *args, **kwargs)


def test_missing_parameter() -> None:
    with pytest.raises(UsageError, match=r"first\(\) its channel 'peaks'.*\(frames, a, b\)"):
        PythonShim(first, ('peaks',), ('peaks',))


def test_map_needs_only_the_read_channel_as_parameter() -> None:
    def operator(frames: Any) -> Any:
        return frames

    assert MapShim(operator, 'frames', ('peaks',), None).channels == ('frames', 'peaks')
    with pytest.raises(UsageError, match="'peaks'"):
        MapShim(operator, 'peaks', (), None)


def test_shim_travels() -> None:
    shim = pickle.loads(pickle.dumps(PythonShim(first, ('frames',), ('frames',))))
    assert shim.function is first
    copy = dill.loads(dill.dumps(JoinShim(lambda frames: frames, ('frames',), ('frames',))))
    assert copy(frames=END) is not None
    assert 'frames' in inspect.signature(copy.function).parameters
