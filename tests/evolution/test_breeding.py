"""A population bred from few experts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import problem

from swarm.errors import UserError
from swarm.evolution.breeding import breed, population_names
from swarm.evolution.state import first_state
from swarm.evolution.steps import STEPS


@given(st.integers(2, 6), st.integers(1, 8), st.integers(0, 100))
def test_children_lie_on_the_line_through_two_parents(experts, more, seed):
    rows = breed(experts, experts + more, np.random.default_rng(seed))
    assert (rows[:experts] == np.eye(experts)).all()
    for row in rows[experts:]:
        assert row.sum() == pytest.approx(1)
        parents = row[row != 0]
        assert len(parents) <= 2 and parents.min() >= -1 and parents.max() <= 2


def test_children_reach_beyond_their_parents():
    rows = breed(3, 200, np.random.default_rng(0))
    assert rows.min() < -0.5 and 0.4 < (rows.min(axis=1)[3:] < 0).mean() < 0.6


def test_names_are_new():
    assert population_names(["a", "child_1"], 4) == ["a", "child_1", "child_2", "child_3"]


def test_a_bred_population_is_searched_with_a_place_for_each():
    bred = problem(n=3, populate_initial_experts=True, initial_experts_num=5)
    assert bred.size == 5 and bred.starting_experts.shape == (5, 3)
    state = first_state(0)
    while state.next_step != "final":
        state = STEPS[state.next_step](bred, state)
    assert state.experts.positions.shape == (5, 3) and state.graphs.positions.shape == (3, 5, 5)
    assert state.experts.positions.sum(axis=1) == pytest.approx(np.ones(5)), "every expert stays a mean of the pool's"
    assert len(state.singles) == 3, "the experts to beat are those that there were"
    assert len(bred.best_system(state.best).members[0].coefficients) == 3


def test_the_same_seed_breeds_the_same_children():
    one, same, other = (
        problem(n=3, populate_initial_experts=True, initial_experts_num=5, seed=seed).starting_experts
        for seed in (1, 1, 2)
    )
    assert (one == same).all() and not (one == other).all()


def test_without_children_to_breed():
    with pytest.raises(UserError, match="--initial_experts_num is 3, but there are 4 experts already"):
        _ = problem(n=4, populate_initial_experts=True, initial_experts_num=3).size
    with pytest.raises(UserError, match="needs --initial_experts_num"):
        problem(n=4, populate_initial_experts=True)
