"""Values of a recipe by their names, checked: what is there, what was wanted, and where."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from swarm.data.tables import show
from swarm.errors import UserError


class Fields:
    """One object of a recipe; every reading raises UserError that names the place, the value and what was wanted."""

    def __init__(self, place: str, content: Any, known: Sequence[str]) -> None:
        """`place` is what messages begin with; keys that are not `known` are refused."""
        self.place = place
        if not isinstance(content, Mapping):
            raise UserError(f"{place} is {show(content)}, wanted an object with {', '.join(known)}: mend the recipe")
        for key in content:
            if key not in known:
                raise UserError(f"{place} has {show(key)}, wanted only {', '.join(known)}: rename or drop it")
        self._content = content

    def __contains__(self, name: str) -> bool:
        return self._content.get(name) is not None

    def wrong(self, name: str, wanted: str) -> UserError:
        """The error for a value that is not as wanted."""
        return UserError(f"{self.place}: {name} is {show(self._content.get(name))}, wanted {wanted}: mend the recipe")

    def raw(self, name: str) -> Any:
        """A value as it is; raises UserError where there is none."""
        if name not in self:
            raise UserError(f"{self.place}: {name} is missing: add it to the recipe")
        return self._content[name]

    def text(self, name: str, default: str | None = None) -> str:
        """A text that is not empty."""
        value = default if name not in self and default is not None else self.raw(name)
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(name, "a text in quotes")
        return value

    def maybe_text(self, name: str) -> str | None:
        """A text, or None where there is none; a number is taken as it was most likely meant, a name of digits."""
        if name in self and isinstance(self._content[name], int) and not isinstance(self._content[name], bool):
            return str(self._content[name])
        return self.text(name) if name in self else None

    def choice(self, name: str, of: Sequence[str], default: str | None) -> str | None:
        """One of several texts."""
        value = self._content[name] if name in self else default
        if value is not None and value not in of:
            raise self.wrong(name, f"one of {', '.join(of)}")
        return value

    def flag(self, name: str) -> bool | None:
        """true or false, or None where it is not said."""
        value = self._content.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def count(self, name: str, default: int, least: int = 1, most: int = sys.maxsize) -> int:
        """A whole number."""
        value = self._content[name] if name in self else default
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            upper = "on" if most == sys.maxsize else f"to {most}"
            raise self.wrong(name, f"a whole number from {least} {upper}")
        return value

    def maybe_count(self, name: str) -> int | None:
        """A whole number from 1 on, or None where there is none."""
        return self.count(name, 1) if name in self else None

    def share(self, name: str, default: float) -> float:
        """A number from 0 to 1."""
        return self._number(name, default, "a number from 0 to 1", lambda value: 0 <= value <= 1)

    def positive(self, name: str, default: float, most: float | None = None) -> float:
        """A finite number above 0, and not above `most`."""
        wanted = "a number above 0" if most is None else f"a number above 0, up to {most:g}"
        highest = sys.float_info.max if most is None else most
        return self._number(name, default, wanted, lambda value: 0 < value <= highest)

    def _number(self, name: str, default: float, wanted: str, allowed: Callable[[float], bool]) -> float:
        value: Any = self._content[name] if name in self else default
        if isinstance(value, str):  # YAML takes 2e-4 for a text, since it has no decimal point
            try:
                value = float(value)
            except ValueError:
                raise self.wrong(name, wanted) from None
        if not isinstance(value, int | float) or isinstance(value, bool) or not allowed(value):
            raise self.wrong(name, wanted)
        return float(value)

    def texts(self, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """A list of texts, at least one."""
        value = self._content[name] if name in self else list(default)
        if not isinstance(value, list) or not value or not all(isinstance(text, str) and text for text in value):
            raise self.wrong(name, "a list of texts, at least one")
        return tuple(value)
