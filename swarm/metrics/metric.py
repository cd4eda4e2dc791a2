"""The interface of metrics, which score answers against references."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from swarm.errors import UserError
from swarm.values import fits, in_words


class Metric(Protocol):
    """The interface of a metric; higher scores are better.

    Attributes:
      name: under which it is asked for.
      lowest, highest: what a score can be.
    """

    name: str
    lowest: float
    highest: float

    def settings(self) -> dict[str, Any]:
        """The facts that decide the scores, as JSON can hold them: options, versions, signature, model and digest."""
        ...

    def score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        """One score per candidate, which does not depend on the others unless the metric says so.

        Raises UserError if the lengths differ or what the metric needs cannot be had.
        """
        ...


def check_lengths(name: str, candidates: Sequence[str], references: Sequence[str]) -> None:
    """Raises UserError if there is not one reference per candidate."""
    if len(candidates) != len(references):
        raise UserError(
            f"metric {name}: {len(candidates)} answers and {len(references)} references; wanted a reference for each"
        )


def needs(name: str, library: str, extra: str, error: ImportError) -> UserError:
    """The error for a metric whose library is not installed."""
    return UserError(f'metric {name} needs {library}, which is missing ({error}): pip install -e ".[{extra}]"')


def version_of(distribution: str) -> str:
    """The installed version of a distribution."""
    from importlib.metadata import version

    return version(distribution)


def check_options(name: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raises UserError for an option that the metric does not have, or a value that it cannot have; `known` are kinds.

    Options that are numbers of rows (batch) are at least 1.
    """
    strange = [option for option in given if option not in known]
    if strange:
        has = f"only {', '.join(known)}" if known else "none"
        raise UserError(f"metric {name} has no option {strange[0]!r}, {has}; drop or rename it")
    for option, value in given.items():
        kind = known[option]
        plain = tuple(value) if isinstance(value, list) else value
        if not fits(plain, kind) or (option == "batch" and value < 1):
            least = " from 1 on" if option == "batch" else ""
            raise UserError(f"metric {name}: {option} is {value!r}, wanted {in_words(kind)}{least}; correct it")
