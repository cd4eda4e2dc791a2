"""The swarm's move and its memory: goldens, algebra, restarts, patience."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.maths import pso

NO_DRAW = pso.MoveCoefficients(0.2, 0.3, 0.4, 0.05, randomness=False)
NEVER = pso.RestartRule(patience=6, fraction=0.67, enabled=False)


def small_swarm(scores=(0.5, 0.2, 0.3), seed=0):
    rng = np.random.default_rng(seed)
    positions = rng.uniform(size=(3, 2, 2))
    return pso.start_swarm(positions, scores, pso.starting_velocities("random", positions, scores, rng), 1.0)


def test_golden_move():
    weights = pso.draw_term_weights(NO_DRAW, np.random.default_rng(0))
    bests = (np.array([2.0, 2.0]), np.array([0.0, 4.0]), np.array([3.0, 1.0]))
    position, velocity = pso.move(np.array([1.0, 2.0]), np.array([0.5, -0.5]), bests, weights, 0.5)
    assert velocity == pytest.approx([-0.105263, 0.789474], abs=1e-6)
    assert position == pytest.approx([0.947368, 2.394737], abs=1e-6)


@given(st.integers(0, 10_000), st.floats(0.01, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_term_weights_sum_to_one(seed, inertia, cognitive, social, repel):
    coefficients = pso.MoveCoefficients(inertia, cognitive, social, repel)
    weights = pso.draw_term_weights(coefficients, np.random.default_rng(seed))
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert (weights[3] == 0) if repel == 0 else True


def test_all_coefficients_zero_is_refused():
    with pytest.raises(ValueError, match="positive sum"):
        pso.draw_term_weights(pso.MoveCoefficients(0, 0, 0, 0), np.random.default_rng(0))


@given(st.integers(0, 500), st.integers(1, 12))
def test_a_move_commutes_with_any_linear_map(seed, steps):
    """Why coefficients are enough: moving coefficients and then combining equals moving the combinations."""
    rng = np.random.default_rng(seed)
    tensors = rng.normal(size=(4, 7))  # four initial experts of seven weights
    scores = rng.uniform(size=(steps + 1, 4))
    rule = pso.RestartRule(patience=3, fraction=0.67)
    coefficients = pso.MoveCoefficients(0.3, 0.3, 0.3, 0.05)
    swarms = []
    for start in (np.eye(4), tensors):
        velocities = pso.starting_velocities("random", start, scores[0], np.random.default_rng(seed))
        swarm, draws = pso.start_swarm(start, scores[0], velocities, 0.8), np.random.default_rng(seed + 1)
        for t in range(steps):
            swarm = pso.remember_scores(pso.move_all(swarm, coefficients, rule, draws), scores[t + 1])
        swarms.append(swarm)
    small, large = swarms
    assert np.allclose(small.positions @ tensors, large.positions)
    assert np.allclose(small.global_worst @ tensors, large.global_worst)
    assert small.cooldowns == large.cooldowns


def test_starting_velocities():
    positions = np.arange(6.0).reshape(3, 2)
    rng = np.random.default_rng(0)
    assert (pso.starting_velocities("zero", positions, [0, 1, 0], rng) == 0).all()
    best = pso.starting_velocities("best", positions, [0, 1, 0], rng)
    assert best.tolist() == [[2, 2], [0, 0], [-2, -2]]
    for _ in range(20):
        ways = pso.starting_velocities("random", positions, [0, 1, 0], rng)
        targets = positions + ways
        assert all(any((t == p).all() for j, p in enumerate(positions) if j != i) for i, t in enumerate(targets))
    with pytest.raises(ValueError, match="random, zero or best, got 'fast'"):
        pso.starting_velocities("fast", positions, [0, 1, 0], rng)
    with pytest.raises(ValueError, match="at least 2 particles"):
        pso.starting_velocities("random", positions[:1], [0], rng)


def test_bests_change_on_strictly_better_scores_only():
    swarm = small_swarm()
    moved = pso.move_all(swarm, NO_DRAW, NEVER, np.random.default_rng(0))
    same = pso.remember_scores(moved, [0.5, 0.2, 0.3])
    assert (same.personal_bests == swarm.personal_bests).all()
    assert (same.global_best == swarm.global_best).all()
    better = pso.remember_scores(moved, [0.6, 0.1, 0.3])
    assert (better.personal_bests[0] == moved.positions[0]).all()
    assert (better.global_best == moved.positions[0]).all()
    assert better.global_best_score == 0.6
    assert (better.global_worst == moved.positions[1]).all()
    assert better.global_worst_score == 0.1
    assert [len(history) for history in better.histories] == [2, 2, 2]
    assert better.best_history == (0.5, 0.6)


def test_scores_may_lie_anywhere():
    """No sentinels: a judge's 1 to 10, effective reliability's -1 to 1, or percentages over 101 all work."""
    swarm = small_swarm(scores=(-1.0, -1.0, -1.0))
    swarm = pso.remember_scores(swarm, [-5.0, 200.0, -1.0])
    assert (swarm.global_best_score, swarm.global_worst_score) == (200.0, -5.0)


def test_age_counts_from_the_first_time():
    assert pso.age_of_best([0.5]) == 1
    assert pso.age_of_best([0.5, 0.6, 0.4, 0.6]) == 3


def test_restarts_and_their_rest():
    """Patience 6 and fraction .67: age of at least 4.02, so 5, then a rest of 4 iterations."""
    rule = pso.RestartRule(patience=6, fraction=0.67)
    assert pso.restarts([4, 5, 5, 9], [0, 0, 1, 4], rule) == ([False, True, False, False], (0, 4, 0, 3))
    off = pso.RestartRule(patience=6, fraction=0.67, enabled=False)
    assert pso.restarts([9], [0], off) == ([False], (0,))


def test_a_restart_moves_from_the_personal_best_without_velocity():
    swarm = small_swarm()
    for _ in range(4):
        swarm = pso.remember_scores(pso.move_all(swarm, NO_DRAW, NEVER, np.random.default_rng(3)), [0.1, 0.1, 0.1])
    rule = pso.RestartRule(patience=6, fraction=0.67)
    moved = pso.move_all(swarm, NO_DRAW, rule, np.random.default_rng(4))
    bests = (swarm.personal_bests[0], swarm.global_best, swarm.global_worst)
    weights = pso.draw_term_weights(NO_DRAW, np.random.default_rng(4))
    expected, _ = pso.move(swarm.personal_bests[0], np.zeros((2, 2)), bests, weights, 1.0)
    assert np.allclose(moved.positions[0], expected)
    assert moved.cooldowns == (4, 4, 4)


def test_ages_can_be_handed_in():
    swarm = small_swarm()
    rule = pso.RestartRule(patience=6, fraction=0.67)
    assert pso.move_all(swarm, NO_DRAW, rule, np.random.default_rng(0)).cooldowns == (0, 0, 0)
    assert pso.move_all(swarm, NO_DRAW, rule, np.random.default_rng(0), ages=[5, 5, 5]).cooldowns == (4, 4, 4)


def test_step_length_really_decays():
    swarm = small_swarm()
    lengths = []
    for _ in range(4):
        swarm = pso.shorten_step(swarm, 0.5, 0.2)
        lengths.append(swarm.step_length)
    assert lengths == [0.5, 0.25, 0.2, 0.2]


def test_patience_needs_more_values_than_itself():
    assert not pso.stagnated([0.5, 0.5, 0.5], 3)
    assert pso.stagnated([0.4, 0.5, 0.5, 0.5], 3)
    assert not pso.stagnated([0.5, 0.5, 0.5, 0.6], 3)
