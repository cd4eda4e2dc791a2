"""Collaborative gain: what a system solves beyond its members (arXiv 2502.04510, section 5)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bucket:
    """The questions that so many of the members solve alone.

    Attributes:
      members: how many members solve them.
      questions: how many questions that is.
      solved: how many of these the system solves.
    """

    members: int
    questions: int
    solved: int


def buckets(alone: np.ndarray, together: np.ndarray) -> list[Bucket]:
    """One bucket for each number of members, from none to all of them.

    Args:
      alone: whether a member solves a question, (members, questions), booleans.
      together: whether the system does, (questions,), booleans.
    """
    counts = np.asarray(alone, dtype=bool).sum(axis=0)
    solved = np.asarray(together, dtype=bool)
    return [
        Bucket(members, int((counts == members).sum()), int(solved[counts == members].sum()))
        for members in range(len(alone) + 1)
    ]
