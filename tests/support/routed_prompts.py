"""Prompts of three sorts, members that are each good at one of them, and the scores that they get."""

import numpy as np

SORTS = {
    "sum": "what is {} + {} ?",
    "spell": "spell the word w{} backwards please w{}",
    "colour": "which colour is thing {} next to thing {}",
}
NAMES = ("adder", "speller", "painter")


def routed_prompts(size, seed=0, noise=0.1):
    """`size` prompts and scores (size, 3): a member has 1 for its own sort, else 0, but for a share of noise."""
    rng = np.random.default_rng(seed)
    sorts = rng.integers(0, 3, size)
    prompts = [list(SORTS.values())[sort].format(*rng.integers(0, 99, 2)) for sort in sorts]
    scores = np.eye(3)[sorts]
    flipped = rng.uniform(size=scores.shape) < noise
    return prompts, np.where(flipped, 1 - scores, scores), sorts
