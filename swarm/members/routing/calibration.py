"""Calibration of a classifier's confidence on held-out prompts."""

import numpy as np

from swarm.members.routing.interfaces import cross_entropy, softmax

NEVER = 2.0  # a threshold above every confidence: always the best single member
_COLDEST, _HOTTEST = 1e-3, 1e3
_STEPS = 80
_RATIO = (5**0.5 - 1) / 2


def temperature_of(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """The T for which softmax(logits / T) has the least cross-entropy with labels (P, M) (Guo et al. 2017, 4.2).

    Between 0.001 and 1000, by golden-section search: the loss is convex in 1 / T. 1.0 where no prompt has weight.
    """
    if not weights.sum() > 0:
        return 1.0

    def loss(exponent: float) -> float:
        return cross_entropy(softmax(logits / np.exp(exponent)), labels, weights)

    low, high = np.log(_COLDEST), np.log(_HOTTEST)
    left, right = high - _RATIO * (high - low), low + _RATIO * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(_STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _RATIO * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _RATIO * (high - low)
            at_right = loss(right)
    return float(np.exp((low + high) / 2))


def threshold_of(confidence: np.ndarray, routed: np.ndarray, single: np.ndarray) -> float:
    """The confidence below which the best single member is asked, so that the mean value is highest.

    All are (P,): `routed` what the choice is worth, `single` what the best single member is. Of equals the lowest
    threshold is taken, which routes most; 0.0 routes all, `NEVER` none.
    """
    order = np.argsort(confidence, kind="stable")
    gains = (single - routed)[order]
    below = np.concatenate([[0.0], np.cumsum(gains)])  # of the first k: what falling back on them would bring
    ranked = np.concatenate([[0.0], confidence[order], [NEVER]])
    # prompts of equal confidence fall back together: only the first of them can be the first that is routed
    starts = np.append(0, np.flatnonzero(np.diff(confidence[order]) > 0) + 1)
    ends = np.append(starts, len(order))
    best = ends[int(np.argmax(np.where(below[ends] > 1e-12, below[ends], 0.0)))]
    return float(ranked[best + 1]) if best else 0.0
