"""Answer or keep silent: two questions, one score from -1 to 1."""

import numpy as np
import pytest

from swarm.data.example import Dataset, Example
from swarm.evals import get_eval
from swarm.evals.abstainqa import proposal_prompt
from swarm.evals.multiple_choice import multiple_choice_prompt

CHOICES = {"A": "red", "B": "green"}
EXAMPLES = (Example("first?", "A", choices=CHOICES), Example("second?", "B", choices=CHOICES))
MMLU = Dataset("mmlu", EXAMPLES, EXAMPLES)


def judged(replies, verdicts):
    """The judgement of a system that says these replies, and to every second question what `verdicts` has for it."""
    judging = get_eval("abstainqa").judge(MMLU, EXAMPLES)
    next(judging)
    queries = judging.send(replies)
    try:
        judging.send([verdicts(query.text) for query in queries])
    except StopIteration as finished:
        return queries, {name: scores.tolist() for name, scores in finished.value.items()}
    raise AssertionError("a third pass")


def test_the_published_second_question():
    asked = "Please choose an option that best answers the question.\nQuestion: first?\nA: red\nB: green\nThe answer is"
    assert multiple_choice_prompt(MMLU, EXAMPLES[0]) == asked
    assert proposal_prompt(asked, "A") == (
        asked + "\nProposed answer: A\nIs the proposed answer true or false? Directly answer with true or false."
    )


def test_right_wrong_and_silent():
    _, scores = judged(["A", "A"], lambda text: "True")
    assert scores["strict"] == scores["compat"] == [1, -1]
    _, scores = judged(["A", "A"], lambda text: "False")
    assert scores["strict"] == scores["compat"] == [0, 0]


def test_the_published_scorer_takes_a_small_true_for_silence():
    _, scores = judged(["A", "B"], lambda text: "true.")
    assert scores == {"strict": [1, 1], "compat": [0, 0]}


def test_echoing_the_second_question_settles_nothing():
    _, scores = judged(["A", "B"], lambda text: text[-60:])
    assert scores["strict"] == [0, 0]


def test_each_scorer_proposes_what_it_reads():
    queries, scores = judged(["Answer: B", "no idea"], lambda text: "True" if "answer: A" in text else "False")
    proposed = [query.text.split("Proposed answer: ")[1][0] for query in queries]
    assert proposed == ["B", "Z", "A", "Z"], "strict reads B and nothing; compat reads A, and Z for nothing"
    assert scores == {"strict": [0, 0], "compat": [1, 0]}


def test_settings():
    evaluation = get_eval("abstainqa")
    assert (evaluation.lowest, evaluation.highest, evaluation.passes) == (-1, 1, 2)
    assert evaluation.params(MMLU).max_new_tokens == 100 and not evaluation.params(MMLU).chat
    queries, _ = judged(["A", "B"], lambda text: "True")
    assert {query.max_new_tokens for query in queries} == {10}
    (forecast,) = evaluation.later_queries(MMLU, EXAMPLES)
    assert [query.text for query in forecast][:1] == [proposal_prompt(multiple_choice_prompt(MMLU, EXAMPLES[0]), "A")]


@pytest.mark.parametrize(("reply", "vote"), [("B", "B"), ("true", "true"), ("False", "false"), ("perhaps", None)])
def test_votes_in_both_passes(reply, vote):
    assert get_eval("abstainqa").ballot(reply, EXAMPLES[0]) == vote


def test_scores_are_arrays_within_the_range():
    judging = get_eval("abstainqa").judge(MMLU, EXAMPLES)
    next(judging)
    judging.send(["A", "B"])
    with pytest.raises(StopIteration) as finished:
        judging.send(["True"] * 4)
    assert all(isinstance(scores, np.ndarray) for scores in finished.value.value.values())
