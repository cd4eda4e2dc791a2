"""GPT-Rank by hand, its laws, and a judge that is asked in both orders."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.engines.scripted import ScriptedEngine
from swarm.errors import BudgetReached, UserError
from swarm.evals.judges.budget import JudgeLimits
from swarm.evals.judges.judge import Judge
from swarm.evals.judges.local_judge import LocalClient
from swarm.metrics.gpt_rank import (
    TIES,
    VERDICTS,
    comparison_matrix,
    gpt_columns,
    gpt_rank,
    gpt_scores,
    judged_comparisons,
    pairwise,
    ranks,
    read_verdict,
)
from swarm.weights.pool import Expert

NAMES = ("a", "b", "c", "d")
FIRST = {("a", "b"): "A is better", ("c", "a"): "Same good", ("a", "d"): "Same bad", ("b", "c"): "B is better",
         ("d", "b"): "A is better", ("c", "d"): "Same good"}  # fmt: skip
SECOND = {("a", "b"): "B is better", ("c", "a"): "A is better", ("a", "d"): "B is better", ("b", "c"): "A is better",
          ("d", "b"): "B is better", ("c", "d"): "A is better"}  # fmt: skip
BOTH = np.stack([comparison_matrix(NAMES, FIRST), comparison_matrix(NAMES, SECOND), np.full((4, 4), np.nan)])


def test_by_hand():
    # first row: a, c and d beat b and are equal, which cancels; second row: b > c > d > a
    np.testing.assert_array_equal(gpt_scores(BOTH), [[2, -6, 2, 2], [-6, 6, 2, -2], [np.nan] * 4])
    np.testing.assert_array_equal(ranks(gpt_scores(BOTH[:2])), [[1, 4, 1, 1], [4, 1, 2, 3]])
    np.testing.assert_array_equal(gpt_rank(BOTH), [2.5, 2.5, 1.5, 2.0])


@pytest.mark.parametrize(
    ("rule", "b", "d"),
    # chosen: a beside b (better), b itself; beside d a (same bad), b (better); the third row has no comparisons
    [("defined", 1.0, 0.5), ("printed", 0.5, 0.5), ("corrected", 0.75, 0.5)],
)
def test_the_columns_of_the_paper(rule, b, d):
    columns = gpt_columns(BOTH, np.array([0, 1, 3]), NAMES, ("b", "d", "vicuna"), TIES[rule])
    assert columns.at_least == {"b": b, "d": d} and columns.size == 2
    assert (columns.gpt_rank, columns.top3) == (1.0, 1.0)
    worst = gpt_columns(BOTH, np.array([1, 0, 0]), NAMES, ("c",), TIES[rule])
    assert (worst.gpt_rank, worst.top3, worst.at_least) == (4.0, 0.0, {"c": 0.0})
    good = gpt_columns(BOTH[:1], np.array([0]), NAMES, ("c",), TIES[rule])
    assert good.at_least == {"c": 0.5 if rule == "corrected" else 1.0}


def test_no_comparisons_at_all():
    with pytest.raises(UserError, match="no prompt has comparisons"):
        gpt_rank(BOTH[2:])
    with pytest.raises(UserError, match="no prompt has comparisons"):
        gpt_columns(BOTH[2:], np.array([0]), NAMES)


PAIRS = [(a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]]
TOURNAMENTS = st.tuples(*(st.tuples(st.sampled_from(sorted(VERDICTS)), st.booleans()) for _ in PAIRS))
TURNED = {"A is better": "B is better", "B is better": "A is better", "Same good": "Same good", "Same bad": "Same bad"}


@given(TOURNAMENTS, st.permutations(NAMES))
def test_laws(tournament, order):
    straight = {pair: verdict for pair, (verdict, _) in zip(PAIRS, tournament, strict=True)}
    written = {(pair[::-1] if turn else pair): (TURNED[verdict] if turn else verdict)
               for pair, (verdict, turn) in zip(PAIRS, tournament, strict=True)}  # fmt: skip
    matrix = comparison_matrix(NAMES, straight)
    np.testing.assert_array_equal(comparison_matrix(NAMES, written), matrix)
    scores = gpt_scores(matrix[None])[0]
    wins = {name: sum(2 * (v == "A is better") * (a == name) - 2 * (v == "B is better") * (a == name)
                      + 2 * (v == "B is better") * (b == name) - 2 * (v == "A is better") * (b == name)
                      for (a, b), v in straight.items()) for name in NAMES}  # fmt: skip
    assert scores.tolist() == [wins[name] for name in NAMES] and scores.sum() == 0
    permuted = gpt_rank(comparison_matrix(order, straight)[None])
    assert dict(zip(order, permuted, strict=True)) == dict(zip(NAMES, gpt_rank(matrix[None]), strict=True))


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, np.nan]), min_size=1, max_size=6))
def test_equals_share_the_better_place(scores):
    found = ranks(np.array(scores))
    for score, rank in zip(scores, found, strict=True):
        if np.isnan(score):
            assert np.isnan(rank)
        else:
            assert rank == 1 + sum(other > score for other in scores)


def judge_of(answer, **settings):
    expert = Expert("judge", (1.0,), "digest")
    return Judge(LocalClient("me", lambda: (ScriptedEngine(answer), expert)), **settings)


def answers_in(prompt):
    first, second = prompt.split("Answer A:\n")[1].split("\n\nAnswer B:\n")
    return first, second.split("\n\n")[0]


def longer(request):
    first, second = answers_in(request.prompt)
    better = "A" if len(first) > len(second) else "B"
    return "Same bad" if len(first) == len(second) else f"**{better} is better** since it is longer"


def test_a_judge_is_asked_in_both_orders():
    asked = []
    judge = judge_of(lambda request: asked.append(answers_in(request.prompt)) or longer(request))
    assert pairwise(judge, "Which?", "long answer", "short") == (1.0, -1.0)
    assert asked == [("long answer", "short"), ("short", "long answer")]
    assert pairwise(judge, "Which?", "12345", "short") == (-0.5, -0.5)


@pytest.mark.parametrize("position", ["A", "B"])
def test_a_preference_for_a_position_cancels(position):
    judge = judge_of(lambda request: f"{position} is better")
    assert pairwise(judge, "Which?", "x", "y") == (0.0, 0.0)
    texts = [("x", "y", "z"), ("1", "2", "3")]
    matrix = judged_comparisons(judge, ["p", "q"], texts)
    np.testing.assert_array_equal(gpt_rank(matrix), [1, 1, 1])
    columns = gpt_columns(matrix, np.array([0, 1]), NAMES[:3], ("c",))
    assert columns.at_least == {"c": 1.0}


def test_judged_comparisons_rank_like_written_ones():
    judge = judge_of(longer)
    matrix = judged_comparisons(judge, ["p", "q"], [("xxx", "x", "xx", "xx"), ("x", None, "yy", "zz")])
    np.testing.assert_array_equal(ranks(gpt_scores(matrix))[0], [1, 4, 2, 2])
    assert matrix[0, 2, 3] == matrix[0, 3, 2] == 0.5  # the same text is as good, and is not asked about
    assert matrix[1, 2, 3] == matrix[1, 3, 2] == -0.5
    assert np.isnan(matrix[1, 1, [0, 2, 3]]).all() and np.isnan(matrix[1, [0, 2, 3], 1]).all()
    assert judge.usage.calls == 2 * (3 + 3)  # each question once
    np.testing.assert_array_equal(ranks(gpt_scores(matrix))[1], [3, np.nan, 1, 1])
    np.testing.assert_array_equal(gpt_rank(matrix), [2, 4, 1.5, 1.5])
    assert gpt_columns(matrix[1:], np.array([1]), NAMES, ("a",)).gpt_rank == 4
    assert gpt_columns(matrix[1:], np.array([1]), NAMES, ("a",)).at_least == {"a": 0}


def test_what_the_judge_cannot_do_ends_it():
    with pytest.raises(BudgetReached):
        pairwise(judge_of(longer, limits=JudgeLimits(calls=1)), "p", "x", "yy")
    with pytest.raises(UserError, match="no answer can be read out of its reply"):
        pairwise(judge_of(lambda request: "hm"), "p", "x", "yy")


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("A is better", "A is better"),
        ("**b is better**: B names it", "B is better"),
        ("same GOOD. A is better in style", "Same good"),
        ("<think>A is better</think> Same bad", "Same bad"),
        ("Beta is better", None),
        ("A is betterment", None),
        ("", None),
    ],
)
def test_a_verdict_is_read(text, verdict):
    assert read_verdict(text) == verdict
