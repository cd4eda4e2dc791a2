"""`Sampling`: how an answer is drawn instead of taking the likeliest token each time."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from swarm.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """Settings of sampling, in the order in which they apply.

    Attributes:
      temperature: by which logits are divided, above 0.
      top_k: only so many of the likeliest tokens are drawn from; 0 takes all.
      top_p: of these the likeliest that hold this much of the probability (nucleus sampling), above 0, at most 1.
      min_p: of these such as have this share of the likeliest one's probability; 0 takes all.
      seed: which texts are drawn: equal requests with equal seeds and draw numbers have equal texts.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0


_RANGES = {
    "temperature": (lambda value: 0 < value < math.inf, "a number above 0 (leave sampling out to be greedy)"),
    "top_k": (lambda value: value >= 0, "a whole number from 0, which takes all"),
    "top_p": (lambda value: 0 < value <= 1, "a number above 0, at most 1"),
    "min_p": (lambda value: 0 <= value <= 1, "a number from 0 to 1"),
    "seed": (lambda value: 0 <= value < 2**63, "a whole number from 0"),
}


def sampling_of(where: str, given: Mapping[str, Any]) -> Sampling:
    """The sampling of such settings by name; `where` they stand, as messages begin with.

    Raises UserError for an unknown name, or a value that cannot be.
    """
    whole = {field.name for field in fields(Sampling) if field.type in (int, "int")}
    for name, value in given.items():
        if name not in _RANGES:
            raise UserError(f"{where} has {name!r}, wanted of {', '.join(_RANGES)}: rename or drop it")
        inside, wanted = _RANGES[name]
        number = isinstance(value, int if name in whole else int | float) and not isinstance(value, bool)
        if not number or not inside(value):
            raise UserError(f"{where}: {name} is {value!r}, wanted {wanted}: mend it")
    settings: dict[str, Any] = {name: value if name in whole else float(value) for name, value in given.items()}
    return Sampling(**settings)


def sampling_record(sampling: Sampling) -> dict[str, Any]:
    """The settings by name, as JSON has them."""
    return asdict(sampling)
