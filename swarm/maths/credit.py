"""The JFK-score: credit of members by random assignments (arXiv 2502.04510, section 3.2)."""

from collections.abc import Sequence

import numpy as np


def draw_assignments(
    count: int,
    nodes: int,
    members: int,
    rng: np.random.Generator,
    around: Sequence[int] | None = None,
    redraw: float = 1.0,
) -> np.ndarray:
    """Random assignments of members to nodes, shape (count, nodes), each node drawn uniformly with replacement.

    With `around`, an assignment, a node keeps the member that it has there with probability 1 - `redraw`.

    A member that no assignment holds would have no score, so it is assigned instead of one that occurs more than
    once. This needs count * nodes >= members; raises ValueError otherwise.
    """
    if count * nodes < members:
        raise ValueError(f"{count} assignments of {nodes} nodes cannot hold each of {members} members")
    flat = rng.integers(0, members, size=count * nodes)
    if around is not None and redraw < 1:
        kept = rng.uniform(size=flat.shape) >= redraw
        flat[kept] = np.tile(np.asarray(around), count)[kept]
    counts = np.bincount(flat, minlength=members)
    for missing in np.flatnonzero(counts == 0):
        spare = rng.choice(np.flatnonzero(counts[flat] > 1))
        counts[flat[spare]] -= 1
        counts[missing] += 1
        flat[spare] = missing
    return flat.reshape(count, nodes)


def jfk_scores(assignments: Sequence[Sequence[int]] | np.ndarray, scores: Sequence[float], members: int) -> np.ndarray:
    """Each member's mean score over the assignments, weighted by how often it occurs in each; shape (members,).

    A member that never occurs has no score: NaN.
    """
    counts = np.stack([np.bincount(np.asarray(row), minlength=members) for row in assignments])  # (M, members)
    occurrences = counts.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(occurrences > 0, np.asarray(scores, dtype=float) @ counts / occurrences, np.nan)
