"""Options KIND:NAME=VALUE,... as they are typed: reading them, and type checks of their values."""

import json
import math
import types
from typing import Any, Union, get_args, get_origin

from swarm.errors import UserError

_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


def kind_and_options(option: str, text: str) -> tuple[str, dict[str, Any]]:
    """A kind and its options from KIND:NAME=VALUE,...; values are JSON, or else texts.

    Raises UserError, which begins with `option`, for what is no NAME=VALUE.
    """
    kind, _, rest = text.partition(":")
    return kind, {name: _value(value) for name, value in pairs_of(option, rest)}


def pairs_of(option: str, text: str) -> list[tuple[str, str]]:
    """NAME=VALUE,NAME=VALUE; brackets keep commas together. Raises UserError as `kind_and_options` does."""
    found: list[str] = []
    depth = 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1:] = [(found[-1] if found else "") + letter]
    pairs = [part.partition("=") for part in found]
    if wrong := [name for name, equals, _ in pairs if not equals or not name]:
        raise UserError(f"{option} has {wrong[0]!r}; wanted NAME=VALUE, separated by commas")
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


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
