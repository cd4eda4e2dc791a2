"""Larger populations: children of pairs of initial experts (arXiv 2410.11163, the parent method)."""

from collections.abc import Sequence

import numpy as np


def breed(experts: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Starting coefficients of a population: the initial experts, then children; shape (wanted, experts).

    A child is w a + (1 - w) b of two different experts drawn at random, with w uniform in (0, 2) as in the parent
    method: it may lie beyond a parent, not only between both. Every row sums to 1.

    Raises ValueError for fewer than 2 experts, or if no child is wanted.
    """
    if experts < 2 or wanted <= experts:
        raise ValueError(f"breeding makes more of at least 2 experts; got {experts}, wanted {wanted}")
    rows = np.zeros((wanted, experts))
    rows[:experts] = np.eye(experts)
    for row in rows[experts:]:
        first, second = rng.choice(experts, size=2, replace=False)
        share = rng.uniform(0.0, 2.0)
        row[first], row[second] = share, 1.0 - share
    return rows


def population_names(names: Sequence[str], wanted: int) -> list[str]:
    """The initial experts' names, then one for each child that no expert has."""
    children: list[str] = []
    number = 0
    while len(names) + len(children) < wanted:
        number += 1
        if f"child_{number}" not in names:
            children.append(f"child_{number}")
    return [*names, *children]
