"""Rows of the tables of features and of classifiers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, get_origin, get_type_hints

from swarm.errors import UserError
from swarm.values import fits, in_words


@dataclass(frozen=True)
class Kind:
    """One row of a table: the settings' class, and the reader of such a part's folder."""

    settings: Callable[..., Any]
    read: Callable[..., Any]


def settings_by_name(what: str, table: Mapping[str, Kind], kind: str, options: Mapping[str, Any]) -> Any:
    """The settings of a row of a table; lists become tuples, also of one value.

    Raises UserError for an unknown name, or a value of another kind than the option's.
    """
    if kind not in table:
        raise UserError(f"{what} is {kind!r}, wanted one of {', '.join(table)}")
    settings = table[kind].settings
    kinds = get_type_hints(settings)
    known = [field.name for field in fields(settings)]  # type: ignore[arg-type]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UserError(f"{what} {kind} has no option {', '.join(unknown)}; wanted {', '.join(known)}")
    values = {name: _value(value, get_origin(kinds[name]) is tuple) for name, value in options.items()}
    for name, value in values.items():
        if not fits(value, kinds[name]):
            raise UserError(f"{what} {kind}: {name} is {options[name]!r}, wanted {in_words(kinds[name])}; correct it")
    return settings(**values)


def _value(value: Any, several: bool) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return (value,) if several and not isinstance(value, tuple) else value
