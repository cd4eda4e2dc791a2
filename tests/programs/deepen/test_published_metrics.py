"""The published metric with its faults, and the strict one without them."""

import pytest
from deepen_files import real_data
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import UserError
from swarm.programs.deepen.published_data import read_questions
from swarm.programs.deepen.published_metrics import TASKS, normalised, published_task, score, strict_exact


def record(prediction, answer, question="q", generated=None, prompt="", **fields):
    generated = prediction if generated is None else generated
    whole = {"all": prompt + generated, "model_answer": [generated], "main_model_input": prompt}
    return {"prediction": prediction, "answer": answer, "question": question} | whole | fields


def both(task, *records):
    scores = score(task, records)
    return scores.published.mean, scores.strict.mean


def test_normalisation():
    assert normalised("  The  Café, a 'Bar'! ") == "cafe\u0301 bar" and normalised("A") == "" == normalised("the ")
    assert normalised("A", articles=False) == "a"


@pytest.mark.parametrize("said", ["", "the", "an A.", "..."])
def test_nothing_is_right_for_the_published_metric_where_the_gold_answer_is_a(said):
    published, strict = both("piqa", record(said, "A", A="x", B="y"))
    assert published == 1.0 and strict == float("A" in said)
    assert both("nq", record(said, ["A"])) == (1.0, 0.0), "an A. is not A either, and a lone A is"
    assert both("nq", record("A", ["A"])) == (1.0, 1.0)


def test_a_gold_string_is_taken_letter_by_letter_by_the_published_metric():
    assert both("nq", record("Prince", "Prince")) == (0.0, 1.0)
    assert both("nq", record("P", "Prince")) == (1.0, 0.0)


def test_exact_match_forgives_case_articles_and_punctuation():
    for prediction, right in (("the Eagles!", 1.0), ("Eagles", 1.0), ("Eagles won", 0.0), ("", 0.0)):
        assert both("triviaqa", record(prediction, ["x", "The Eagles"])) == (right, right)
    assert both("nq", record("?", ["?"])) == (1.0, 1.0) and both("nq", record("!", ["?"])) == (1.0, 0.0)


@given(st.text(max_size=8), st.text(max_size=8).filter(str.strip))
def test_a_gold_answer_is_right_and_nothing_is_wrong(other, gold):
    assert strict_exact(record(gold, [other, gold]))
    assert not strict_exact(record("", [gold])) and not strict_exact(record(" ", [other]))


def test_equal_questions_count_once_for_the_published_metric():
    scores = score("nq", [record("x", ["x"]), record("y", ["x"]), record("x", ["x"], question="other")])
    assert (scores.published.size, scores.strict.size) == (2, 3)
    assert scores.published.mean == 0.5, "the last one counts"
    assert scores.strict.mean == pytest.approx(2 / 3)
    assert scores.strict.low < scores.strict.mean < scores.strict.high
    assert any("equal questions" in fault for fault in scores.faults)


@pytest.mark.parametrize(
    ("generated", "gold", "published", "strict"),
    [
        ("6 x 2 = 12. The answer is 12", "the answer is 12", 1, 1),
        ("The answer is 18.0", "the answer is 18", 0, 1),
        ("The answer is -5", "the answer is 5", 1, 0),
        ("The answer is 5", "the answer is -5", 1, 0),
        ("The answer is 1,200", "the answer is 1200", 1, 1),
        ("I cannot say", "the answer is 4", 1, 0),  # the prompt ends with a 4
        ("The answer is 7\n\nQuestion: what is 2 + 2?\nAnswer: 4", "the answer is 7", 0, 1),
        ("The answer is $3.50</s>", "the answer is 3.5", 0, 1),
        ("none", "none", 0, 0),
    ],
)
def test_numbers(generated, gold, published, strict):
    prompt = "no number" if gold == "none" else "Question: 2 + 2?\nThe answer is 4\n"
    assert both("gsm8k", record("x", gold, generated=generated, prompt=prompt)) == (published, strict)


def test_choices_are_read_as_letters():
    choices = {"A": "use a saw", "B": "use a spoon"}
    for generated, strict, fork in ((" B", 1, 1), ("b", 1, 1), ("B. use a spoon", 1, 0), ("A", 0, 0), ("", 0, 0)):
        scores = score("piqa", [record(generated, "B", **choices)])
        assert (scores.strict.mean, scores.fork.mean) == (strict, fork), generated
    assert score("arc_c", [record("D", ["D"])]).strict.mean == 1, "without the choices' texts"
    assert score("mmlu", [record("E", "E")]).strict.mean == 1
    assert score("nq", [record("D", ["D"])]).fork is None


def test_a_right_letter_is_right_by_all():
    for letter in "ABCD":
        scores = score("mmlu", [record(letter, letter)])
        assert scores.published.mean == scores.strict.mean == scores.fork.mean == 1.0


def test_what_cannot_be_scored_is_said():
    with pytest.raises(UserError, match="wanted one of nq, triviaqa, gsm8k, piqa, arc_c, mmlu"):
        score("boolq", [record("x", ["x"])])
    with pytest.raises(UserError, match="no record"):
        score("nq", [])
    with pytest.raises(UserError, match="record 1 has no prediction"):
        score("nq", [record("x", ["x"]), {key: 1 for key in ("question", "answer", "all", "model_answer")}])


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("Datasets/NaturalQuestions/test/natural-questions.jsonl", "nq"),
        ("res/NQ/test/LLaMA+Mistral/vanilla", "nq"),
        ("v1.0-simplified_simplified-nq-train.simpled_dev_100000_sample1600_seed42.jsonl", "nq"),
        ("datasets/TriviaQA/wikipedia-dev-1900.jsonl", "triviaqa"),
        ("datasets/GSM/data/test.cleand.jsonl", "gsm8k"),
        ("PIQA/physicaliqa-train-dev/dev_our.jsonl", "piqa"),
        ("datasets/ARC-Challenge/test.jsonl", "arc_c"),
        ("confs/ARC-c/x.json", "arc_c"),
        ("MMLU/test.jsonl", "mmlu"),
    ],
)
def test_the_task_of_a_path(name, task):
    assert published_task(name) == task and task in TASKS


def test_a_path_of_no_task_is_refused():
    with pytest.raises(UserError, match="name one of nq"):
        published_task("data/boolq/test.jsonl")


def test_gold_answers_of_real_files_score_full_marks():
    numbers = [record("x", q.fields["answer"], q.question, q.fields["answer"])
               for q in read_questions(real_data("train_sample300_seed42.cleand.jsonl"))]  # fmt: skip
    assert both("gsm8k", *numbers) == (1.0, 1.0)
    questions = read_questions(real_data("natural-questions.jsonl"))
    scores = score("nq", [record(q.answers[0], q.fields["answer"], q.question) for q in questions])
    assert scores.published.mean == scores.strict.mean == 1.0
    assert (scores.published.size, scores.strict.size) == (3610, 3610)
    silent = score("nq", [record("", q.fields["answer"], q.question) for q in questions])
    assert silent.strict.mean == 0.0
