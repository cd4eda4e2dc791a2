"""How far a mean score can be trusted."""

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


def estimate(scores: Sequence[float] | np.ndarray) -> Estimate:
    """The mean with a 95 % interval: Wilson's where every score is 0 or 1, else the normal one.

    Raises ValueError for no scores, or for one that is not finite.
    """
    values = np.asarray(scores, dtype=float)
    size = len(values)
    if not size or not np.isfinite(values).all():
        raise ValueError(f"an estimate needs at least one score, all finite; got {size} scores")
    mean = float(values.mean())
    if np.isin(values, (0.0, 1.0)).all():
        middle = (mean + Z95**2 / (2 * size)) / (1 + Z95**2 / size)
        half = Z95 * math.sqrt(mean * (1 - mean) / size + (Z95 / (2 * size)) ** 2) / (1 + Z95**2 / size)
    else:
        middle, half = mean, Z95 * float(values.std(ddof=1)) / math.sqrt(size) if size > 1 else math.inf
    return Estimate(mean, middle - half, middle + half, size)
