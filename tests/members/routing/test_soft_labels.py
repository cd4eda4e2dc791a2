"""What a classifier learns from scores: ties, near-ties, missing answers, and nothing to learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import UserError
from swarm.members.routing.soft_labels import (
    check_classes,
    margin_weights,
    soft_labels,
    winners,
    without_gaps,
)

NAN = np.nan
SCORES = np.array([[3.0, 1.0, 0.0], [1.0, 1.0, 0.0], [2.0, 2.0, 2.0], [NAN, -1.0, -1.2], [0.0, 0.1, 0.0]])


def test_golden():
    assert winners(SCORES).tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 0], [0, 1, 0]]
    assert winners(SCORES, 0.15)[4].all()
    assert soft_labels(SCORES)[:3] == pytest.approx(np.array([[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3]))
    assert margin_weights(SCORES) == pytest.approx([1, 1, 0, 1 / 3, 1 / 6])  # margins 2, 1, 0, 0.2, 0.1; median 0.6


def test_a_missing_answer_never_wins_even_where_all_answers_are_as_bad():
    scores = np.array([[NAN, 0.0], [1.0, 0.0]])
    assert winners(scores).tolist() == [[False, True], [True, False]]
    assert soft_labels(scores, 0.5)[0].tolist() == [0, 1]
    assert without_gaps(scores)[0].tolist() == [0, 0]


@given(st.integers(0, 9999), st.integers(1, 9), st.sampled_from([None, 0.1, 3.0]))
def test_labels_are_shares_that_follow_the_members_and_not_the_level(seed, size, temperature):
    rng = np.random.default_rng(seed)
    scores, turn = rng.integers(0, 4, (size, 4)) / 2, rng.permutation(4)
    labels = soft_labels(scores, temperature)
    assert labels.sum(axis=1) == pytest.approx(1) and (labels >= 0).all()
    assert soft_labels(scores[:, turn] + 7, temperature) == pytest.approx(labels[:, turn])
    assert (labels.argmax(axis=1) == scores.argmax(axis=1)).all()
    weights = margin_weights(scores)
    assert ((weights == 0) == (np.ptp(scores, axis=1) == 0)).all() and weights.max() <= 1
    assert margin_weights(10 * scores - 3) == pytest.approx(weights), "units do not count"


def test_a_temperature_has_the_scores_unit():
    shares = soft_labels(np.array([[2.0, 0.0]]), 2.0)[0]
    assert shares[0] / shares[1] == pytest.approx(np.e)


@pytest.mark.parametrize(
    "scores, words",
    [
        (np.array([[1.0, 0.0], [1.0, 1.0]]), "single class: one is best.*ask it alone"),
        (np.ones((4, 2)), "all 2 members tie on all 4 prompts"),
        (np.array([[NAN, NAN], [1.0, 0.0]]), "prompt 0 has no score"),
        (np.array([[np.inf, 0.0]]), "prompt 0 has an infinite score"),
        (np.ones(3), "wanted prompts times members"),
    ],
)
def test_refused(scores, words):
    with pytest.raises(UserError, match=words):
        check_classes(scores, ["one", "two"])


def test_two_classes_are_enough():
    check_classes(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), ["one", "two"])
