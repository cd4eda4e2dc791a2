"""Confidence intervals of mean scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z95 = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A mean over `size` items with its 95 % interval."""

    mean: float
    low: float
    high: float
    size: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.size}"


def estimate(scores: Sequence[float] | np.ndarray, lowest: float = 0.0, highest: float = 1.0) -> Estimate:
    """The mean with a 95 % interval inside the scores' range.

    Wilson's where every score is at one of the two ends of the range, the normal one otherwise. Where all scores are
    the same, the share of others that differ is bounded by Wilson's interval for none of `size`, and they could lie
    anywhere in the range; at an end of the range this is Wilson's interval again.

    Raises ValueError for no scores, or for one that is not finite or out of range.
    """
    values = np.asarray(scores, dtype=float)
    size = len(values)
    if not size or not ((values >= lowest) & (values <= highest)).all():
        raise ValueError(f"an estimate needs at least one score, all from {lowest:g} to {highest:g}; got {size} scores")
    mean = float(values.mean())
    if np.isin(values, (lowest, highest)).all():
        share = (mean - lowest) / (highest - lowest)
        middle = (share + Z95**2 / (2 * size)) / (1 + Z95**2 / size)
        half = Z95 * math.sqrt(share * (1 - share) / size + (Z95 / (2 * size)) ** 2) / (1 + Z95**2 / size)
        low, high = (lowest + bound * (highest - lowest) for bound in (middle - half, middle + half))
    elif np.ptp(values) == 0:
        differing = Z95**2 / (size + Z95**2)
        low, high = mean - differing * (mean - lowest), mean + differing * (highest - mean)
    else:
        half = Z95 * float(values.std(ddof=1)) / math.sqrt(size)
        low, high = max(mean - half, lowest), min(mean + half, highest)
    # rounding may have carried a bound past the mean
    return Estimate(mean, min(low, mean), max(high, mean), size)
