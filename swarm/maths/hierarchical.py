"""The hierarchical bootstrap: intervals of means over worlds, over runs within them, over questions of these.

Worlds are the unit: a few of them tell little, however many questions each has (Davison & Hinkley 1997, section 3.8;
Saravanan, Berman & Sober 2020). All randomness is handed in.
"""

from collections.abc import Sequence

import numpy as np

from swarm.maths.interval import Estimate

RESAMPLES = 2000


def hierarchical_mean(
    worlds: Sequence[np.ndarray], generator: np.random.Generator, resamples: int = RESAMPLES
) -> Estimate:
    """The mean over worlds of their means, with its 95 % percentile interval; its size is the number of worlds.

    Each world is an array (runs, questions) of scores, or of paired differences of scores. A resample draws worlds,
    then within each drawn one its runs, and its questions, which all its runs share; each with replacement and as many
    as there are.

    Raises ValueError for no worlds, and for one that is empty, is no such array or holds a number that is not finite.
    """
    arrays = [np.asarray(world, dtype=np.float64) for world in worlds]
    if not arrays or any(array.ndim != 2 or not array.size or not np.isfinite(array).all() for array in arrays):
        shapes = [array.shape for array in arrays]
        raise ValueError(f"wanted at least one world, each an array (runs, questions) of finite numbers; got {shapes}")
    count = len(arrays)
    means = np.empty(resamples)
    for k in range(resamples):
        means[k] = np.mean([_drawn(arrays[one], generator) for one in generator.integers(count, size=count)])
    mean = float(np.mean([array.mean() for array in arrays]))
    low, high = np.percentile(means, (2.5, 97.5))
    return Estimate(mean, min(float(low), mean), max(float(high), mean), count)


def _drawn(world: np.ndarray, generator: np.random.Generator) -> float:
    """The mean of runs and questions drawn anew from a world."""
    runs, questions = world.shape
    of_runs = np.bincount(generator.integers(runs, size=runs), minlength=runs)
    of_questions = np.bincount(generator.integers(questions, size=questions), minlength=questions)
    return float(of_runs @ world @ of_questions) / world.size
