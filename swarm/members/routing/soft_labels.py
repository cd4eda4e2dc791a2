"""Training targets from scores: hard and soft labels, and sample weights by margin.

Scores are (P prompts, M members), higher is better, NaN where a member's answer is missing: it is never best there.
"""

from collections.abc import Sequence

import numpy as np

from swarm.errors import UserError


def without_gaps(scores: np.ndarray) -> np.ndarray:
    """Scores in float64 with a missing answer worth as little as the prompt's worst.

    Raises UserError for a shape other than (P, M), an infinite score, or a prompt that nobody has answered.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or not scores.size:
        raise UserError(f"scores have the shape {scores.shape}, wanted prompts times members, at least one of each")
    if np.isinf(scores).any():
        row = int(np.isinf(scores).any(axis=1).argmax())
        raise UserError(f"prompt {row} has an infinite score, wanted numbers, or NaN for no answer; mend the metric")
    missing = np.isnan(scores)
    if missing.all(axis=1).any():
        unanswered = int(missing.all(axis=1).argmax())
        raise UserError(f"prompt {unanswered} has no score of any member; rank the answers to it, or leave it out")
    return np.where(missing, np.nanmin(scores, axis=1, keepdims=True), scores)


def winners(scores: np.ndarray, tolerance: float = 0.0) -> np.ndarray:
    """A mask of the best members of each prompt, or at most `tolerance` (in the scores' unit) below: bool (P, M)."""
    return ~np.isnan(scores) & (without_gaps(scores) >= without_gaps(scores).max(axis=1, keepdims=True) - tolerance)


def soft_labels(scores: np.ndarray, temperature: float | None = None, tolerance: float = 0.0) -> np.ndarray:
    """Soft labels from scores: float64 (P, M), rows sum to 1.

    Without a temperature the winners share a prompt equally. With one it is softmax(scores / temperature), so that the
    temperature has the scores' unit: members that far apart have shares of 1 to e.
    """
    if temperature is None:
        best = winners(scores, tolerance).astype(np.float64)
        return best / best.sum(axis=1, keepdims=True)
    if not temperature > 0:
        raise UserError(f"the temperature of soft labels is {temperature:g}, wanted more than 0, or none for ties only")
    exponents = (without_gaps(scores) - without_gaps(scores).max(axis=1, keepdims=True)) / temperature
    shares = np.where(np.isnan(scores), 0.0, np.exp(exponents))
    return shares / shares.sum(axis=1, keepdims=True)


def margin_weights(scores: np.ndarray, tolerance: float = 0.0) -> np.ndarray:
    """Sample weights (P,) by the best member's margin, from 0 (all members tie) to 1.

    The margin is the lead of the winners over the best of the others. It counts in proportion up to the median margin,
    and no more beyond, or a few runaway wins would decide alone.
    """
    best, known = winners(scores, tolerance), without_gaps(scores)
    runner_up = np.where(best, -np.inf, known).max(axis=1)
    margins = np.where(best.all(axis=1), 0.0, known.max(axis=1) - runner_up)
    if not margins.any():
        return np.zeros(len(margins))
    return np.minimum(margins / np.median(margins[margins > 0]), 1.0)


def one_class(scores: np.ndarray, tolerance: float = 0.0) -> bool:
    """Whether all labels are of one class, so that there is nothing to learn."""
    return bool(winners(scores, tolerance).all(axis=0).any())


def check_classes(scores: np.ndarray, names: Sequence[str], tolerance: float = 0.0) -> None:
    """Raises UserError where labels have only `one_class`."""
    if not one_class(scores, tolerance):
        return
    best = winners(scores, tolerance)
    if best.all():
        raise UserError(
            f"all {len(names)} members tie on all {len(best)} prompts, wanted prompts that tell them apart; "
            "rank with another metric, or with harder prompts"
        )
    always = names[int(best.all(axis=0).argmax())]
    raise UserError(
        f"the labels have a single class: {always} is best, or as good as the best, for all {len(best)} prompts; "
        "ask it alone, or rank with more prompts, other members or another metric"
    )
