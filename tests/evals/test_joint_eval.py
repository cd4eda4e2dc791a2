"""Several datasets as one: every example by its own eval, weights, floors, and questions that want other parameters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.data.example import Dataset, Example
from swarm.engines.base import GenerationParams
from swarm.errors import UserError
from swarm.evals.abstainqa import AbstainQA
from swarm.evals.eval import USUAL, Eval
from swarm.evals.exact_match import ExactMatch
from swarm.evals.joint_eval import COLUMN, JointEval, Part
from swarm.evals.multiple_choice import MultipleChoice

SUMS = tuple(Example(f"{k} + 1?", str(k + 1)) for k in range(5))
PICKS = tuple(Example(f"Is {k} odd?", "A", choices={"A": "yes", "B": "no"}) for k in (1, 3, 5))


def dataset(name, examples, **generation):
    return Dataset(name, examples, examples, generation=generation, digest=name)


def joint(*, second=None, weights=(1.0, 1.0), floors=(None, None), **settings):
    evals = (ExactMatch(), second or MultipleChoice())
    data = (dataset("sums", SUMS, chat=False), dataset("picks", PICKS))
    return JointEval([Part(*each) for each in zip(data, evals, weights, floors, strict=True)], **settings)


def conversation(evaluation, examples, answer):
    """The judgement, and the queries of every pass."""
    judging, passes = evaluation.judge(evaluation.dataset, examples), []
    asked = next(judging)
    try:
        while True:
            passes.append(asked)
            asked = judging.send([answer(query) for query in asked])
    except StopIteration as finished:
        return finished.value, passes


def test_every_example_is_asked_and_scored_as_its_own_eval_does_it():
    evaluation = joint(second=AbstainQA())
    examples = evaluation.dataset.dev[::-1]  # any order
    answers = {example.question: example.answer for example in (*SUMS[:3], *PICKS)}

    def answer(query):
        if "true or false" in query.text:
            return "true"
        return next((said for question, said in answers.items() if question in query.text), "none")

    judgement, passes = conversation(evaluation, examples, answer)
    expected = {}
    for part in evaluation.parts:
        own, _ = conversation(Alone(part.evaluation, part.dataset), part.dataset.dev, answer)
        expected |= {example.question: own["strict"][k] for k, example in enumerate(part.dataset.dev)}
    assert judgement["strict"].tolist() == [expected[example.question] for example in examples]
    assert [example.question in query.text for example, query in zip(examples, passes[0], strict=True)] == [True] * 8
    assert len(passes) == 2 and len(passes[1]) == 2 * len(PICKS), "the second pass is the second eval's own"
    assert len(evaluation.later_queries(evaluation.dataset, examples)[0]) == 2 * len(PICKS)


class Alone:
    """An eval that is asked about a dataset of its own."""

    def __init__(self, evaluation, own):
        self.dataset, self._evaluation = own, evaluation

    def judge(self, given, examples):
        return self._evaluation.judge(given, examples)


SCORES = st.lists(st.floats(0, 1), min_size=8, max_size=8).map(np.array)


@given(SCORES, st.floats(0.1, 9), st.floats(0.1, 9))
def test_the_utility_is_the_weighted_mean_of_means(scores, first, second):
    evaluation = joint(weights=(first, second))
    examples = evaluation.dataset.dev
    wanted = (first * scores[:5].mean() + second * scores[5:].mean()) / (first + second)
    assert evaluation.utility(scores, examples) == pytest.approx(wanted)
    told = evaluation.estimate(scores, examples)
    assert told.mean == pytest.approx(wanted) and told.size == 8
    assert -1e-9 <= told.low <= told.mean + 1e-9 and told.mean - 1e-9 <= told.high <= 1 + 1e-9


@given(SCORES, SCORES, st.floats(0.05, 1))
def test_who_is_below_a_floor_loses_to_who_is_above_and_the_nearest_of_those_below_wins(one, other, floor):
    evaluation = joint(floors=(None, floor))
    examples = evaluation.dataset.dev
    short = [max(floor - scores[5:].mean(), 0) for scores in (one, other)]
    ones, others = (evaluation.utility(scores, examples) for scores in (one, other))
    if short[0] > 0 or short[1] > 0:
        assert np.sign(ones - others) == np.sign(short[1] - short[0]) or abs(short[1] - short[0]) < 1e-12
    assert (ones < 0) == (short[0] > 0)


class Stars(Eval):
    """Ratings from 1 to 5."""

    name, lowest, highest = "stars", 1.0, 5.0

    def params(self, given):
        return given.settings(GenerationParams(7))

    def judge(self, given, examples):
        return MultipleChoice().judge(given, examples)


def test_scores_of_other_ranges_count_by_their_share():
    evaluation = joint(second=Stars())
    scores = np.array([1.0, 1, 1, 1, 1, 3, 3, 3])
    assert evaluation.utility(scores, evaluation.dataset.dev) == pytest.approx(0.75)
    assert evaluation.estimates({"strict": scores}, evaluation.dataset.dev)["picks"]["strict"]["mean"] == 3
    assert evaluation.solved(scores, evaluation.dataset.dev).tolist() == [True] * 5 + [False] * 3


def test_questions_say_what_their_eval_wants_otherwise_unless_the_user_has_said_it():
    def params(**settings):
        evaluation = joint(second=Stars(), **settings)
        _, passes = conversation(evaluation, evaluation.dataset.dev, lambda query: "1")
        usual = evaluation.params(evaluation.dataset)
        own = {"max_new_tokens": settings.get("max_new_tokens") or usual.max_new_tokens}
        usual = GenerationParams(own["max_new_tokens"], settings.get("chat", usual.chat))
        return [query.params(usual) for query in (passes[0][0], passes[0][-1])]

    assert params() == [GenerationParams(USUAL.max_new_tokens, chat=False), GenerationParams(7, chat=False)]
    assert params(max_new_tokens=3, chat=True) == [GenerationParams(3, chat=True)] * 2


def test_skipped_examples_are_left_out_and_every_example_says_where_it_is_from():
    evaluation = joint()
    examples = evaluation.dataset.dev
    assert [example.column(COLUMN) for example in examples] == ["sums"] * 5 + ["picks"] * 3
    scores = np.array([1.0, np.nan, 1, 1, 1, 0, 0, np.nan])
    assert evaluation.utility(scores, examples) == 0.5
    assert evaluation.ballot("B", examples[-1]) == "B" and evaluation.readable("7", examples[0])


class Loss(Stars):
    """Scores without a lower bound."""

    lowest, highest = float("-inf"), 0.0


class Other(Stars):
    """Scores of another name."""

    scorers = ("mine",)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: JointEval([Part(dataset("a", SUMS), ExactMatch())] * 2), "-d names two datasets a"),
        (lambda: joint(second=Other()), "have no scorer in common"),
        (lambda: joint(second=Loss(), floors=(0.5, None)), "--at_least beside picks, whose scores have no bounds"),
    ],
)
def test_what_cannot_be_put_together(make, said):
    with pytest.raises(UserError, match=said):
        make()
    assert joint(second=Loss()).range == (float("-inf"), float("inf"))


def test_one_way_of_sampling_for_all():
    def made(*ways, **settings):
        return JointEval(
            [
                Part(dataset(name, SUMS, **({"sampling": way} if way else {})), ExactMatch())
                for name, way in zip("ab", ways, strict=True)
            ],
            **settings,
        )

    warm = {"temperature": 0.7}
    assert made(warm, warm).params(dataset("a", SUMS)).sampling.temperature == 0.7
    with pytest.raises(UserError, match="ask for sampling in different ways .* with --sampling"):
        made(warm, None)
    made(warm, None, overridden=["sampling"])


def test_an_eval_that_asks_twice_beside_another_does_not_ask_in_order():
    assert joint().in_order and not joint(second=AbstainQA()).in_order
