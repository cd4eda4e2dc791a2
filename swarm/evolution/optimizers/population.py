"""What optimizers remember of candidates that have answered all of dev, as JSON has it."""

from collections.abc import Sequence
from typing import Any

from swarm.evolution.candidate import Candidate, Scored, candidate_of

Known = dict[str, Any]
"""A candidate with its key, its utility and its scores on dev (None where a question is left out)."""


def known(one: Scored) -> Known:
    """A candidate that has finished."""
    scores = [None if score != score else score for score in one.scores]
    return {"key": one.candidate.key, "utility": one.utility, "scores": scores, "candidate": one.candidate.record()}


def finished(scored: Sequence[Scored]) -> list[Known]:
    """Those that have answered all of dev, the later ones first: among equals the newer counts more."""
    return [known(one) for one in reversed(scored) if one.finished]


def best_of(some: Sequence[Known], size: int) -> list[Known]:
    """The best by utility; of equals the first."""
    return sorted(some, key=lambda one: -one["utility"])[:size]


def candidates_of(some: Sequence[Known]) -> list[Candidate]:
    """The candidates themselves."""
    return [candidate_of(one["candidate"]) for one in some]
