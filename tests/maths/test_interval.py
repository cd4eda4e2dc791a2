"""Intervals: Wilson's published values, and what happens at the edges."""

import numpy as np
import pytest

from swarm.maths.interval import estimate


def test_wilson():
    """81 of 263: Newcombe (1998), table I, gives .2553 to .3662."""
    shown = estimate([1] * 81 + [0] * (263 - 81))
    assert (shown.low, shown.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_none_right_still_has_an_interval():
    shown = estimate([0, 0, 0])
    assert shown.low == pytest.approx(0)
    assert shown.high > 0.5


def test_scores_on_another_scale():
    shown = estimate([1, 10, 7, 4])
    assert shown.mean == 5.5
    assert shown.high - shown.mean == pytest.approx(1.959964 * np.std([1, 10, 7, 4], ddof=1) / 2)


def test_refused():
    with pytest.raises(ValueError, match="at least one score"):
        estimate([])
    with pytest.raises(ValueError, match="finite"):
        estimate([np.nan])
