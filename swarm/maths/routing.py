"""Metrics of a router's choices, from every member's scores: P prompts, M members, higher is better.

Every mean comes with a bootstrap interval over the prompts (Efron 1979, percentiles). All randomness is handed in.
"""

from collections.abc import Callable

import numpy as np

from swarm.maths.interval import Estimate

RESAMPLES = 2000
_BLOCK = 1 << 22  # numbers that are drawn at a time


def at(matrix: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """The chosen entry of every row: (P, M) and (P,) -> (P,) float64."""
    return np.asarray(matrix, dtype=np.float64)[np.arange(len(choices)), choices]


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: mean |share right - mean confidence| over equal bins of [0, 1] (Guo et al. 2017).

    `right` (P,) is 0 or 1, or the share of a prompt's label that the choice got. Raises ValueError for no prompts.
    """
    confidence, right = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if not len(confidence) or confidence.shape != right.shape:
        raise ValueError(f"calibration needs as many outcomes as confidences, got {right.shape}, {confidence.shape}")
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(bin_of, weights=right - confidence, minlength=bins)  # of a bin: |bin| (right - confidence)
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
    """A statistic of prompts with its 95 % percentile interval; it is called with indices (size,) of prompts.

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
