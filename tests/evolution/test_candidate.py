"""Candidates, the moves that change them, the ledger and the race."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.engines.base import Completion
from swarm.errors import BudgetReached
from swarm.evolution.candidate import Candidate, Space, candidate, candidate_of
from swarm.evolution.ledger import KEY, Ledger
from swarm.evolution.optimizers.evolution import MOVES
from swarm.evolution.optimizers.moves import GRID, rounded
from swarm.evolution.optimizers.random_draws import random_candidate, random_tree
from swarm.evolution.racing import blocks_of, leaves, race

SPACE = Space(("a", "b", "c"), ("vote",), ("short", "long"), {}, ("default", "short", "long"), 7, 12)
ONE = candidate([(0, 2), (1, 2)], [(1.0, 0.0, 0.0), "vote", (0.1, -0.25, 1e-17)], ["short", "default", "long"])


def test_a_record_keeps_every_bit():
    assert candidate_of(ONE.record()) == ONE
    assert candidate_of(ONE.record()).key == ONE.key
    assert candidate(ONE.edges, ONE.nodes).instructions == ()


def test_key_tells_candidates_apart():
    others = [candidate(ONE.edges, ONE.nodes), candidate([(0, 1), (1, 2)], ONE.nodes, ONE.instructions)]
    assert len({ONE.key, *(other.key for other in others)}) == 3


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (Candidate(((0, 1), (1, 0)), ("vote", "vote")), "circle"),
        (Candidate((), ("vote", "vote")), "wanted one end"),
        (Candidate((), ("mbr",)), "composites are: vote"),
        (Candidate((), ((1.0, 0.0),)), "wanted 3 numbers"),
        (Candidate((), ((1.0, math.nan, 0.0),)), "wanted 3 numbers"),
        (Candidate(((0, 5),), ("vote", "vote")), "edge 0 -> 5"),
        (Candidate(((0, 1), (0, 1)), ("vote", "vote")), "twice"),
        (Candidate((), ()), "wanted 1 to 7"),
        (Candidate((), ("vote",), ("short", "long")), "2 instructions for 1"),
        (Candidate((), ("vote",), ("rude",)), "'rude'"),
    ],
)
def test_what_no_candidate_can_be(one, why):
    with pytest.raises(ValueError, match=why):
        SPACE.check(one)


@given(st.integers(0, 2**32), st.sampled_from(sorted(MOVES)))
def test_moves_make_candidates_of_candidates(seed, name):
    rng = np.random.default_rng(seed)
    one, other = (random_candidate(SPACE, rng, mixed=True) for _ in range(2))
    for _ in range(4):  # further and further from a tree
        child = MOVES[name][0](SPACE, one, other, rng)
        if child is not None:
            SPACE.check(child)
            one, other = child, one
        follow = MOVES["add edge"][0](SPACE, one, other, rng)
        one = follow or one


@given(st.integers(0, 2**32), st.integers(1, 9))
def test_random_trees_are_trees_with_one_end(seed, nodes):
    edges = random_tree(nodes, np.random.default_rng(seed))
    assert len(edges) == nodes - 1
    Space(("a",), (), max_nodes=9).check(candidate(edges, [(1.0,)] * nodes))


def test_random_trees_are_uniform():
    rng = np.random.default_rng(0)
    drawn = [tuple(sorted(random_tree(3, rng))) for _ in range(900)]
    counts = [drawn.count(tree) for tree in sorted(set(drawn))]
    assert len(counts) == 9  # three labelled trees of three nodes, with three ends each
    assert sum((count - 100) ** 2 / 100 for count in counts) < 26.1  # chi square, 8 degrees of freedom, .001


def test_rounded_coefficients_lie_on_the_grid():
    one = rounded(candidate([], [(0.37, -0.11, 0.99)]))
    assert one.nodes == ((round(0.37 * GRID) / GRID, 0.0, 1.0),)
    assert math.copysign(1, one.nodes[0][1]) == 1  # -0.0 would be another expert's digest


def key(number):
    return bytes([number]) * 32


def test_a_request_is_charged_once_to_the_first_candidate_that_needs_it():
    ledger = Ledger()
    ledger.heard(1, key(1), Completion("x", 3, 2))  # whoever is quicker
    ledger.heard(0, key(1), Completion("x", 3, 2))
    ledger.heard(1, key(2), Completion("y", 1, 1))
    ledger.heard(1, key(3), Completion("route", 0, 0))  # a router's choice
    assert ledger.settle(2) == [1, 1]
    assert (ledger.calls, ledger.tokens, len(ledger.keys)) == (2, 7, 3)
    ledger.heard(0, key(2), Completion("y", 1, 1))
    assert ledger.settle(1) == [0]


def test_what_passes_a_limit_is_not_charged():
    ledger = Ledger(most_calls=2)
    ledger.heard(0, key(1), Completion("x", 1, 1))
    ledger.settle(1)
    mark = ledger.mark()
    ledger.heard(0, key(2), Completion("x", 1, 1))
    with pytest.raises(BudgetReached, match="--max_calls 2 reached"):
        ledger.heard(0, key(3), Completion("x", 1, 1))
    ledger.back_to(mark)
    assert (ledger.passed, ledger.calls, ledger.keys_from(0)) == (True, 1, key(1)[:KEY])


def test_tokens_have_a_limit_too():
    with pytest.raises(BudgetReached, match="--max_tokens 3 reached"):
        Ledger(most_tokens=3).heard(0, key(1), Completion("x", 2, 2))


def test_the_hopeless_leave_by_the_paired_test():
    bar = np.array([1.0, 1.0, 0.0, 1.0])
    assert not leaves(bar, bar)
    assert not leaves(np.array([1.0, 0.0, 0.0, 1.0]), bar)  # -.25 and one standard error of .25
    assert leaves(np.array([0.0, 0.0, 0.0, 1.0]), bar)  # -.5 and one of .29
    assert not leaves(np.array([0.0, 1.0, 1.0, 1.0]), bar)


@pytest.mark.parametrize(("dev", "sizes"), [(120, [12, 24, 36, 48]), (30, [18, 12]), (12, [12])])
def test_blocks_are_a_new_order_of_all_questions(dev, sizes):
    rng = np.random.default_rng(0)
    first, second = (blocks_of(range(100, 100 + dev), rng) for _ in range(2))
    assert [len(block) for block in first] == sizes and first != second
    assert sorted(place for block in first for place in block) == list(range(100, 100 + dev))


def test_a_race_asks_no_further_of_who_has_left():
    asked = []

    def examine(candidates, places):
        asked.append((len(candidates), list(places)))
        scores = {"good": 1.0, "bad": 0.0}
        return np.array([[scores[one.nodes[0]]] * len(places) for one in candidates]), [len(places)] * len(candidates)

    runners = [Candidate((), ("good",)), Candidate((), ("bad",))]
    blocks = [[3, 1], [0, 2]]
    good, bad = race(runners, blocks, examine, np.ones(4), np.ones(4))
    assert asked == [(2, [3, 1]), (1, [0, 2])]
    assert good.scores.tolist() == [1.0] * 4 and good.calls == 4
    assert np.isnan(bad.scores[[0, 2]]).all() and bad.calls == 2
    asked.clear()
    race(runners, blocks, examine, None, np.ones(4))
    assert asked == [(2, [3, 1]), (2, [0, 2])]
