"""Type checks of the values of options KIND:NAME=VALUE."""

import math
import types
from typing import Any, Union, get_args, get_origin

_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind: str, int, float, bool, a tuple of one of them, or one of several (A | None).

    A whole number is a float, too; true is no number, and neither are NaN and infinity.
    """
    if _is_union(kind):
        return any(fits(value, one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(fits(one, get_args(kind)[0]) for one in value)
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is kind


def in_words(kind: Any) -> str:
    """The name of a kind in messages."""
    if _is_union(kind):
        return " or ".join(in_words(one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        return f"{in_words(get_args(kind)[0])}, or several as [...]"
    return _WORDS[kind]


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)
