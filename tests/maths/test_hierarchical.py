"""The hierarchical bootstrap: what its intervals hold, and what they are refused for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from swarm.maths.hierarchical import hierarchical_mean

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 5))
WORLDS = st.lists(
    SHAPES.flatmap(lambda shape: arrays(np.int8, shape, elements=st.integers(-1, 1))), min_size=1, max_size=4
)


def bounds(worlds: list[np.ndarray], seed: int = 0) -> np.ndarray:
    found = hierarchical_mean(worlds, np.random.default_rng(seed), resamples=40)
    return np.array([found.low, found.mean, found.high])


@given(WORLDS)
def test_worlds_count_alike_and_intervals_hold_their_mean(worlds: list[np.ndarray]) -> None:
    low, mean, high = bounds(worlds)
    assert low <= mean <= high
    assert mean == pytest.approx(np.mean([world.mean() for world in worlds]))


@given(WORLDS, st.integers(-3, 3), st.integers(1, 4))
def test_what_is_shifted_and_stretched_has_its_interval_so(worlds: list[np.ndarray], shift: int, by: int) -> None:
    moved = bounds([by * world.astype(float) + shift for world in worlds])
    assert moved == pytest.approx(by * bounds(worlds) + shift)


@given(st.floats(-5, 5), st.integers(1, 3))
def test_equal_scores_have_an_interval_of_no_width(score: float, count: int) -> None:
    low, mean, high = bounds([np.full((2, 3), score)] * count)
    assert (low, high) == (pytest.approx(score), pytest.approx(score)) and mean == pytest.approx(score)


def test_worlds_that_differ_widen_it_and_more_questions_do_not_help() -> None:
    """As many numbers each: two worlds of which one is always right know less than two that are half right."""
    apart = [np.ones((3, 400)), np.zeros((3, 400))]
    alike = [np.tile([0.0, 1.0], (3, 200))] * 2
    assert np.ptp(bounds(apart)[[0, 2]]) == 1
    assert np.ptp(bounds(alike)[[0, 2]]) < 0.2


def test_runs_are_drawn_whole() -> None:
    """Runs of one world that differ: their mean moves with the runs, not with single answers of them."""
    low, _, high = bounds([np.stack([np.zeros(900), np.ones(900)])])
    assert (low, high) == (0, 1)


@pytest.mark.parametrize("worlds", [[], [np.zeros(3)], [np.zeros((2, 0))], [np.array([[np.nan]])]])
def test_what_is_no_world_is_refused(worlds: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="at least one world"):
        hierarchical_mean(worlds, np.random.default_rng(0))
