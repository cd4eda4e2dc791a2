"""The JFK-score, and assignments that leave nobody out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.maths.credit import draw_assignments, jfk_scores


def test_golden():
    scores = jfk_scores([[0, 1, 1], [2, 2, 0]], [0.6, 0.3], 3)
    assert scores == pytest.approx([0.45, 0.6, 0.3])


@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 5))
def test_hand_count_and_coverage(seed, members, count):
    rng = np.random.default_rng(seed)
    assignments = draw_assignments(count, members, members, rng)
    assert assignments.shape == (count, members)
    assert set(assignments.ravel()) == set(range(members))
    scores = rng.uniform(size=count)
    for expert in range(members):
        drawn = [scores[j] for j in range(count) for node in assignments[j] if node == expert]
        assert jfk_scores(assignments, scores, members)[expert] == pytest.approx(np.mean(drawn))


def test_permutations_cannot_tell_experts_apart():
    assert len(set(jfk_scores([[0, 1, 2], [2, 0, 1]], [0.2, 0.8], 3).round(12))) == 1


def test_who_never_occurs_has_no_score():
    assert np.isnan(jfk_scores([[0, 0]], [0.5], 2)[1])


def test_draws_are_uniform():
    drawn = draw_assignments(5000, 4, 4, np.random.default_rng(0))
    assert np.bincount(drawn.ravel()) / drawn.size == pytest.approx([0.25] * 4, abs=0.02)


def test_too_few_nodes():
    with pytest.raises(ValueError, match="1 assignments of 2 nodes cannot hold each of 3"):
        draw_assignments(1, 2, 3, np.random.default_rng(0))


def test_a_place_keeps_its_member_by_chance():
    around = [3, 2, 1, 0]
    drawn = draw_assignments(5000, 4, 4, np.random.default_rng(0), around, redraw=0.4)
    # kept with .6, or drawn again and the same by chance: .6 + .4 / 4
    assert (drawn == around).mean() == pytest.approx(0.7, abs=0.01)
    assert draw_assignments(3, 4, 4, np.random.default_rng(0), around, redraw=0.0).tolist() == [around] * 3
