"""Intervals: Wilson's published values, and what happens at the edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.maths.interval import estimate, over_runs, paired, verdict


def test_wilson():
    """81 of 263: Newcombe (1998), table I, gives .2553 to .3662."""
    shown = estimate([1] * 81 + [0] * (263 - 81))
    assert (shown.low, shown.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_none_right_still_has_an_interval():
    shown = estimate([0, 0, 0])
    assert shown.low == pytest.approx(0)
    assert shown.high > 0.5


def test_scores_on_another_scale():
    shown = estimate([1, 10, 7, 4], 1, 10)
    assert shown.mean == 5.5
    assert shown.high - shown.mean == pytest.approx(1.959964 * np.std([1, 10, 7, 4], ddof=1) / 2)


def test_scores_at_both_ends_of_a_range_have_wilsons_interval_on_its_scale():
    plain, scaled = estimate([0, 1, 1, 1]), estimate([-1, 1, 1, 1], -1, 1)
    assert (scaled.low, scaled.high) == pytest.approx((2 * plain.low - 1, 2 * plain.high - 1))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_an_interval_is_finite_and_inside_the_range(scores):
    shown = estimate(scores, -1, 1)
    assert -1 - 1e-9 <= shown.low <= shown.mean + 1e-9 <= shown.high + 2e-9 <= 1 + 3e-9


@pytest.mark.parametrize("size", [1, 5, 100])
def test_equal_scores_are_no_certainty(size):
    at_an_end, within = estimate([0] * size), estimate([0.5] * size)
    assert within.mean == 0.5 and within.high - 0.5 == pytest.approx(at_an_end.high / 2)
    assert 0.5 - within.low == pytest.approx(at_an_end.high / 2)
    assert estimate([1e-12] * size).high == pytest.approx(at_an_end.high), "no jump where Wilson's interval begins"


@pytest.mark.parametrize("scores", [[], [np.nan], [0.5, np.inf], [1.5]])
def test_refused(scores):
    with pytest.raises(ValueError, match="at least one score, all from 0 to 1"):
        estimate(scores)


def test_pairs_of_the_same_questions():
    ours, theirs = [1, 1, 0, 1, 0, 1, 1, 0], [0, 1, 0, 0, 1, 0, 1, 0]
    apart = paired(ours, theirs)
    assert apart.mean == pytest.approx(0.25) and apart.size == 8
    assert apart.low == -paired(theirs, ours).high
    # narrower than the difference of two samples that have nothing to do with each other would be, as here they agree
    close = paired([1] * 50 + [0] * 50, [1] * 49 + [0] * 51)
    assert 0 < close.high - close.low < 0.05
    nothing = paired([1, 0, 1], [1, 0, 1])
    assert nothing.mean == 0 and nothing.low < 0 < nothing.high, "three equal answers show little"
    with pytest.raises(ValueError, match="zip"):
        paired([1], [1, 0])


@pytest.mark.parametrize(
    ("better", "worse", "same", "shown"),
    [(2, 0, 1, 0), (3, 0, 2, 0), (4, 0, 596, 0), (6, 0, 0, 1), (0, 6, 0, -1), (10, 8, 100, 0), (700, 500, 0, 1)],
)
def test_few_pairs_show_no_difference(better, worse, same, shown):
    """By the exact sign test (Dixon and Mood, 1946): six of six pairs are chance in 1 of 32 cases, five in 1 of 16."""
    ours = [1] * better + [0] * worse + [1] * same
    theirs = [0] * better + [1] * worse + [1] * same
    assert verdict(paired(ours, theirs)) == shown
    assert paired([1] * 6, [0] * 6).chance == 2 / 64 and paired([1, 0], [1, 0]).chance == 1


def test_runs_that_differ_by_chance():
    # values and quantiles from the textbook: t at 97.5 % is 2.776 for 4 degrees of freedom
    found = over_runs([0.70, 0.72, 0.68, 0.71, 0.69])
    assert found.mean == pytest.approx(0.70)
    assert found.high - found.mean == pytest.approx(2.776 * 0.0158114 / 5**0.5, rel=1e-3)
    many = over_runs([0.0, 1.0] * 50)
    assert many.high - many.mean == pytest.approx(1.984 * many_deviation() / 10, rel=1e-3)
    single = over_runs([0.5])
    assert (single.mean, single.low, single.high) == (0.5, -math.inf, math.inf)
    with pytest.raises(ValueError, match="at least one"):
        over_runs([])


def many_deviation():
    return float(np.std([0.0, 1.0] * 50, ddof=1))
