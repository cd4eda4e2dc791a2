"""Confidence intervals of mean scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

Z95 = 1.959963984540054
# Student's t at 97.5 % for 1 to 30 degrees of freedom
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
        2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)  # fmt: skip


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
    anywhere in the range; at an end of the range this is Wilson's interval again. Of scores without bounds nothing of
    the kind is known: where all are the same, the interval is that score alone.

    Raises ValueError for no scores, or for one that is not finite or out of range.
    """
    values = np.asarray(scores, dtype=float)
    size = len(values)
    if not size or not ((values >= lowest) & (values <= highest)).all():
        raise ValueError(f"an estimate needs at least one score, all from {lowest:g} to {highest:g}; got {size} scores")
    mean = float(values.mean())
    bounded = math.isfinite(highest - lowest)
    if bounded and np.isin(values, (lowest, highest)).all():
        share = (mean - lowest) / (highest - lowest)
        middle = (share + Z95**2 / (2 * size)) / (1 + Z95**2 / size)
        half = Z95 * math.sqrt(share * (1 - share) / size + (Z95 / (2 * size)) ** 2) / (1 + Z95**2 / size)
        low, high = (lowest + bound * (highest - lowest) for bound in (middle - half, middle + half))
    elif bounded and np.ptp(values) == 0:
        differing = Z95**2 / (size + Z95**2)
        low, high = mean - differing * (mean - lowest), mean + differing * (highest - mean)
    else:
        half = Z95 * float(values.std(ddof=1)) / math.sqrt(size) if size > 1 else 0.0
        low, high = max(mean - half, lowest), min(mean + half, highest)
    # rounding may have carried a bound past the mean
    return Estimate(mean, min(low, mean), max(high, mean), size)


@dataclass(frozen=True)
class Paired(Estimate):
    """A mean difference of pairs.

    Attributes:
      chance: of so uneven a share of better and worse pairs where neither is more likely (the exact sign test).
    """

    chance: float


def paired(ours: Sequence[float], theirs: Sequence[float], lowest: float = 0.0, highest: float = 1.0) -> Paired:
    """The mean of ours - theirs on the same items, both scored from `lowest` to `highest`, as `estimate` gives it.

    Raises ValueError as `estimate` does, and for unequal lengths.
    """
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    found = estimate(differences, lowest - highest, highest - lowest)
    better, worse = sum(each > 0 for each in differences), sum(each < 0 for each in differences)
    return Paired(found.mean, found.low, found.high, found.size, _sign_test(better, worse))


def verdict(difference: Paired) -> int:
    """1 or -1 where a difference is shown, 0 where it is not.

    Its interval does not hold 0, and so uneven pairs would come by chance in less than one case of twenty: the interval
    alone is too narrow where there are few pairs that differ.
    """
    if difference.chance >= 0.05 or difference.low <= 0 <= difference.high:
        return 0
    return 1 if difference.mean > 0 else -1


def _sign_test(better: int, worse: int) -> float:
    """The two-sided chance of pairs as uneven as these, of which each is as likely to be better as worse."""
    count, fewer = better + worse, min(better, worse)
    if count > 1000:  # where the normal distribution is as good
        return math.erfc(max(abs(better - worse) - 1, 0) / math.sqrt(2 * count))
    tail = sum(math.comb(count, index) for index in range(fewer + 1))
    return min(1.0, 2 * float(Fraction(tail, 2**count)))


def over_runs(values: Sequence[float]) -> Estimate:
    """The mean over runs that differ by chance only, with its 95 % interval by Student's t.

    Of a single run the interval is without bounds. Raises ValueError for none.
    """
    found = np.asarray(values, dtype=float)
    if not found.size:
        raise ValueError("a mean over runs needs at least one")
    mean, more = float(found.mean()), len(found) - 1
    if not more:
        return Estimate(mean, -math.inf, math.inf, 1)
    quantile = _T95[more - 1] if more <= len(_T95) else Z95 + (Z95**3 + Z95) / (4 * more)
    half = quantile * float(found.std(ddof=1)) / math.sqrt(len(found))
    return Estimate(mean, mean - half, mean + half, len(found))
