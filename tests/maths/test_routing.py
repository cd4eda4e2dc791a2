"""What a router's choices are worth, and the curves of quality over cost."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from swarm.maths.routing import bootstrap, bootstrap_mean, calibration_error
from swarm.maths.routing_curves import aiq, apgr, calls_for_gap, gap_curve, quality_hull

SEEDS, SIZES = st.integers(0, 10_000), st.integers(1, 12)


def test_a_bootstrap_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        shown = bootstrap_mean(rng.normal(3.0, 1.0, 60), rng, 200)
        covered += shown.low <= 3.0 <= shown.high
    assert 0.88 <= covered / 200 <= 0.99


def test_bootstraps_of_a_mean_agree_and_repeat():
    values = np.random.default_rng(1).normal(size=50)
    quick, again = (bootstrap_mean(values, np.random.default_rng(2)) for _ in range(2))
    slow = bootstrap(lambda rows: float(values[rows].mean()), 50, np.random.default_rng(3))
    assert quick == again
    assert (quick.mean, quick.low, quick.high) == pytest.approx((slow.mean, slow.low, slow.high), abs=0.03)


def test_resamples_without_the_statistic_are_left_out():
    strong = np.array([1.0, 0.0, 0.0])
    curve = bootstrap(lambda rows: apgr(strong[rows], np.zeros(3), strong[rows]), 3, np.random.default_rng(0), 100)
    assert np.isfinite([curve.low, curve.high]).all()


def test_calibration_error():
    assert calibration_error(np.array([0.9, 0.9, 0.3, 1.0]), np.array([1, 0, 0, 1])) == pytest.approx((0.8 + 0.3) / 4)
    assert calibration_error(np.full(10, 0.7), np.arange(10) < 7) == pytest.approx(0)


@given(SEEDS, SIZES)
def test_calibration_error_is_between_nothing_and_one_and_at_least_the_mean_gap(seed, size):
    rng = np.random.default_rng(seed)
    confidence, right = rng.uniform(size=size), rng.integers(0, 2, size)
    error = calibration_error(confidence, right)
    assert abs(confidence.mean() - right.mean()) - 1e-12 <= error <= 1


def test_the_hull_leaves_out_what_a_mixture_beats():
    costs, quality = quality_hull(np.array([1.0, 2.0, 3.0, 4.0, 2.0]), np.array([0.2, 0.3, 0.8, 0.5, 0.1]))
    assert costs.tolist() == [1.0, 3.0, 4.0] and quality.tolist() == [0.2, 0.8, 0.8]
    assert aiq(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.2, 0.3, 0.8, 0.5])) == pytest.approx((0.5 * 2 + 0.8) / 3)
    assert aiq(np.array([1.0, 3.0]), np.array([0.2, 0.8]), (2.0, 5.0)) == pytest.approx((0.65 + 0.8 * 2) / 3)
    assert aiq(np.array([2.0, 2.0]), np.array([0.2, 0.8])) == 0.8
    with pytest.raises(ValueError, match="costs begin at 2"):
        aiq(np.array([2.0]), np.array([0.2]), (1.0, 3.0))


@given(SEEDS, SIZES)
def test_a_hull_rises_ever_more_slowly_above_all_points(seed, size):
    rng = np.random.default_rng(seed)
    costs, quality = rng.integers(0, 6, size).astype(float), rng.uniform(size=size)
    across, up = quality_hull(costs, quality)
    slopes = np.diff(up) / np.diff(across)
    assert (np.diff(across) > 0).all() and (slopes >= 0).all() and (np.diff(slopes) <= 1e-9).all()
    assert (np.interp(costs, across, up) >= quality - 1e-9).all()
    area = aiq(costs, quality)
    assert up[0] - 1e-9 <= area <= quality.max() + 1e-9
    assert aiq(3 * costs + 1, 2 * quality - 5) == pytest.approx(2 * area - 5), "units do not count"
    more = aiq(np.append(costs, costs[0]), np.append(quality, 2.0), (costs.min(), costs.max()))
    assert more >= area - 1e-9, "a further router cannot harm"


WEAK, STRONG = np.array([1.0, 0.0, 0.0, 1.0]), np.array([1.0, 1.0, 1.0, 1.0])


def test_performance_gap_recovered():
    right_first = np.array([0.1, 0.9, 0.8, 0.2])
    calls, recovered = gap_curve(right_first, WEAK, STRONG)
    assert calls.tolist() == [0, 0.25, 0.5, 0.75, 1] and recovered.tolist() == [0, 0.5, 1, 1, 1]
    assert apgr(right_first, WEAK, STRONG) == pytest.approx(0.75)
    assert apgr(-right_first, WEAK, STRONG) == pytest.approx(0.25)
    assert calls_for_gap(right_first, WEAK, STRONG, 0.5) == 0.25
    assert calls_for_gap(right_first, WEAK, STRONG, 0.75) == pytest.approx(0.375)
    with pytest.raises(ValueError, match="no lead"):
        apgr(right_first, STRONG, WEAK)


@given(SEEDS, SIZES)
@example(262, 5)  # the way to the last point is rounded up there
def test_who_knows_nothing_recovers_half_and_turning_round_mirrors(seed, size):
    rng = np.random.default_rng(seed)
    weak = rng.integers(0, 3, size) / 2
    strong = weak + rng.integers(0, 3, size) / 2
    strong[0] = weak[0] + 1
    assert apgr(np.zeros(size), weak, strong) == pytest.approx(0.5)
    preference = rng.integers(0, 4, size).astype(float)
    assert apgr(preference, weak, strong) + apgr(-preference, weak, strong) == pytest.approx(1)
    assert apgr(strong - weak, weak, strong) >= apgr(preference, weak, strong) - 1e-12
    shares = [calls_for_gap(preference, weak, strong, share) for share in (0, 0.3, 0.8, 1)]
    assert shares == sorted(shares) and shares[0] >= 0 and shares[-1] <= 1
