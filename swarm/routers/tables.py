"""What the tables of features and of classifiers are made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from swarm.errors import UserError


@dataclass(frozen=True)
class Kind:
    """One row of a table: the settings' class, and what reads such a part from its folder."""

    settings: Callable[..., Any]
    read: Callable[..., Any]


def settings_by_name(what: str, table: Mapping[str, Kind], kind: str, options: Mapping[str, Any]) -> Any:
    """The settings of a row of a table; lists become tuples, also of one value. UserError for an unknown name."""
    if kind not in table:
        raise UserError(f"{what} is {kind!r}, wanted one of {', '.join(table)}")
    settings = table[kind].settings
    known = [field.name for field in fields(settings)]  # type: ignore[arg-type]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UserError(f"{what} {kind} has no option {', '.join(unknown)}; wanted {', '.join(known)}")
    several = {field.name for field in fields(settings) if isinstance(field.default, tuple)}  # type: ignore[arg-type]
    values = {name: _value(value, name in several) for name, value in options.items()}
    try:
        return settings(**values)
    except TypeError as error:
        raise UserError(f"{what} {kind}: {dict(options)} does not fit ({error}); wanted {settings()}") from error


def _value(value: Any, several: bool) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return (value,) if several and not isinstance(value, tuple) else value
