"""How good a router's choices are, from what every member scored: P prompts, M members, higher scores are better.

Every mean comes with a bootstrap interval over the prompts (Efron 1979, percentiles). All randomness is handed in.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from swarm.maths.interval import Estimate

RESAMPLES = 2000
_BLOCK = 1 << 22  # numbers that are drawn at a time


@dataclass(frozen=True)
class RouterFigures:
    """What a router's choices are worth on P prompts; all but the accuracy in the scores' own unit.

    Attributes:
      quality: mean score of the chosen members.
      oracle: mean score of each prompt's best member, which no router exceeds.
      best_single: mean score of the one member that it is compared with.
      regret: oracle - quality, per prompt; never negative.
      gain: quality - best_single, per prompt.
      accuracy: share of prompts whose choice is one of the best members; any of equals counts.
      cost: mean cost of the chosen members, None where no costs are known.
      best_member: which member best_single is.
    """

    quality: Estimate
    oracle: Estimate
    best_single: Estimate
    regret: Estimate
    gain: Estimate
    accuracy: Estimate
    cost: Estimate | None
    best_member: int


def router_figures(
    scores: np.ndarray,
    choices: np.ndarray,
    generator: np.random.Generator,
    costs: np.ndarray | None = None,
    best_member: int | None = None,
    resamples: int = RESAMPLES,
) -> RouterFigures:
    """Quality, regret, gain, accuracy and cost of choices (P,) under scores (P, M).

    Args:
      costs: per member (M,) or per prompt and member (P, M).
      best_member: the one to be compared with, as it was chosen on other prompts; by default the best on these very
        prompts, which is the harder comparison.

    Raises ValueError for no prompts, scores that are not finite, or choices that are no members.
    """
    scores, choices = _checked(scores, choices)
    best = int(scores.mean(axis=0).argmax()) if best_member is None else best_member
    chosen, highest = at(scores, choices), scores.max(axis=1)

    def with_interval(values: np.ndarray) -> Estimate:
        return bootstrap_mean(values, generator, resamples)

    return RouterFigures(
        quality=with_interval(chosen),
        oracle=with_interval(highest),
        best_single=with_interval(scores[:, best]),
        regret=with_interval(highest - chosen),
        gain=with_interval(chosen - scores[:, best]),
        accuracy=with_interval((chosen == highest).astype(np.float64)),
        cost=None if costs is None else with_interval(at(np.broadcast_to(costs, scores.shape), choices)),
        best_member=best,
    )


def at(matrix: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """The chosen entry of every row: (P, M) and (P,) -> (P,) float64."""
    return np.asarray(matrix, dtype=np.float64)[np.arange(len(choices)), choices]


def coverage_risk(confidence: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of prompts kept and their mean loss, for every threshold on the confidence, the strictest first.

    Prompts of equal confidence are kept or dropped together, so both results have one entry per distinct confidence
    (El-Yaniv & Wiener 2010). Losses (P,) are regrets, for instance. Raises ValueError for no prompts.
    """
    confidence, losses = np.asarray(confidence, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if not len(confidence) or confidence.shape != losses.shape:
        raise ValueError(f"coverage needs as many losses as confidences, got {confidence.shape} and {losses.shape}")
    ends, order = tie_ends(confidence)
    kept = ends.astype(np.float64)
    return kept / len(confidence), np.cumsum(losses[order])[ends - 1] / kept


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: mean |share right - mean confidence| over equal bins of [0, 1] (Guo et al. 2017).

    `right` (P,) is 0 or 1, or the share of a prompt's label that the choice got. Raises ValueError for no prompts.
    """
    confidence, right = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if not len(confidence) or confidence.shape != right.shape:
        raise ValueError(f"calibration needs as many outcomes as confidences, got {right.shape}, {confidence.shape}")
    places = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(places, weights=right - confidence, minlength=bins)  # of a bin: |bin| (right - confidence)
    return float(np.abs(gaps).sum() / len(confidence))


def bootstrap_mean(values: np.ndarray, generator: np.random.Generator, resamples: int = RESAMPLES) -> Estimate:
    """The mean of values (P,) with its 95 % percentile interval; equal values have an interval of no width.

    Raises ValueError for no values, or one that is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"a mean needs at least one value, all finite; got {len(values)}")
    block = max(1, _BLOCK // len(values))
    means = [
        values[generator.integers(0, len(values), (min(block, resamples - done), len(values)))].mean(axis=1)
        for done in range(0, resamples, block)
    ]
    return _percentiles(float(values.mean()), np.concatenate(means), len(values))


def bootstrap(
    statistic: Callable[[np.ndarray], float], size: int, generator: np.random.Generator, resamples: int = RESAMPLES
) -> Estimate:
    """Any statistic of prompts with its 95 % percentile interval; it is handed indices (size,) of prompts.

    A resample for which it raises ValueError (no gap, no prompts) is left out. Raises ValueError if all prompts
    together have no such statistic.
    """
    known = statistic(np.arange(size))
    found = []
    for _ in range(resamples):
        drawn = generator.integers(0, size, size)
        try:
            found.append(statistic(drawn))
        except ValueError:
            continue
    return _percentiles(known, np.array(found or [known]), size)


def _percentiles(mean: float, drawn: np.ndarray, size: int) -> Estimate:
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Estimate(mean, min(float(low), mean), max(float(high), mean), size)


def _checked(scores: np.ndarray, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, choices = np.asarray(scores, dtype=np.float64), np.asarray(choices, dtype=np.int64)
    if scores.ndim != 2 or not scores.size or choices.shape != scores.shape[:1]:
        raise ValueError(f"figures need scores (P, M) and choices (P,), got {scores.shape} and {choices.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("figures need a score of every member for every prompt; drop prompts with missing ones")
    if choices.min() < 0 or choices.max() >= scores.shape[1]:
        raise ValueError(f"choices are members 0 to {scores.shape[1] - 1}, got {choices.min()} to {choices.max()}")
    return scores, choices


def tie_ends(confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many prompts each distinct value keeps, the highest value first, and the prompts in that order."""
    order = np.argsort(-confidence, kind="stable")
    falls = np.flatnonzero(np.diff(confidence[order]) != 0)
    return np.append(falls + 1, len(confidence)), order
