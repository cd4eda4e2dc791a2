"""Racing: candidates answer dev in blocks, and the hopeless leave by a paired test."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from swarm.data.example import Example
from swarm.evals.eval import Eval
from swarm.evals.joint_eval import JointEval
from swarm.evolution.candidate import Candidate

SHARES = (0.1, 0.3, 0.6)  # of dev, after which the hopeless leave: most are found out early
FEWEST = 10  # questions that tell anything
ERRORS = 1.0  # standard errors by which the difference has to be below 0

RULE = (
    f"racing: after {', '.join(f'{share:.0%}' for share in SHARES)} of dev a candidate leaves if its mean paired "
    "difference to the bar, plus one standard error of that, is below 0"
)


Examine = Callable[[Sequence[Candidate], Sequence[int]], tuple[np.ndarray, list[int]]]
"""(candidates, dev questions) -> scores, (candidates, questions), and the calls charged for each candidate."""


def question_weights(evaluation: Eval, dev: Sequence[Example]) -> np.ndarray:
    """By what a question's score counts, (dev,): the mean of weighted scores is the utility, but for a constant."""
    if not isinstance(evaluation, JointEval):
        return np.ones(len(dev))
    weights = np.zeros(len(dev))
    by_dataset = evaluation.by_dataset(np.arange(len(dev)), dev)
    for part in evaluation.parts:
        places = by_dataset[part.name]
        span = part.evaluation.highest - part.evaluation.lowest if part.bounded else 1.0
        weights[places] = part.weight / (span * len(places))
    found: np.ndarray = weights * len(dev) / sum(part.weight for part in evaluation.parts)
    return found


def blocks_of(places: Sequence[int], rng: np.random.Generator) -> list[list[int]]:
    """The questions in an order drawn at random, in blocks of these shares, but where these would be too few."""
    order = rng.permutation(np.asarray(places))
    ends = [round(share * len(order)) for share in SHARES]
    return [block.tolist() for block in np.split(order, [end for end in ends if end >= FEWEST])]


def leaves(own: np.ndarray, bar: np.ndarray) -> bool:
    """Whether a candidate is hopeless: the mean of own − bar plus `ERRORS` standard errors of it is below 0."""
    differences = own - bar
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    return float(differences.mean()) + ERRORS * error < 0


@dataclass(frozen=True, eq=False)
class Raced:
    """A candidate after a race.

    Attributes:
      scores: on dev, (dev,); NaN where it was not asked, since it had left.
      calls: charged for it.
    """

    scores: np.ndarray
    calls: int


def race(
    candidates: Sequence[Candidate],
    blocks: Sequence[Sequence[int]],
    examine: Examine,
    bar: np.ndarray | None,
    weights: np.ndarray,
) -> list[Raced]:
    """What became of each candidate.

    Args:
      bar: the weighted scores that they are compared with, (dev,); without them nobody leaves.
      weights: by what each question's score counts, (dev,).
    """
    scores = np.full((len(candidates), len(weights)), np.nan)
    calls = [0] * len(candidates)
    running = list(range(len(candidates)))
    asked: list[int] = []
    for number, block in enumerate(blocks):
        if not running:
            break
        found, charged = examine([candidates[i] for i in running], block)
        asked += block
        for i, own, spent in zip(running, found, charged, strict=True):
            scores[i, block] = own
            calls[i] += spent
        if bar is not None and number + 1 < len(blocks):
            running = [i for i in running if not leaves(weights[asked] * scores[i, asked], bar[asked])]
    return [Raced(own, spent) for own, spent in zip(scores, calls, strict=True)]
