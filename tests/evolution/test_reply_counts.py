"""What is wrong with many answers is said at once, with the cure; what is as it should be is not spoken of."""

import logging

import pytest

from swarm.data.example import Example
from swarm.evals.exact_match import ExactMatch
from swarm.evals.multiple_choice import MultipleChoice
from swarm.evolution.reply_counts import EARLY, ReplyCounts, ReplyWatch, as_rows, complaints, count_of, counts_by_node
from swarm.system.query_trace import MemberAnswer

SUMS = [Example("1 + 1?", "2"), Example("2 + 3?", "5")]


def said(text, cut=False, member="expert_0", most=16):
    return MemberAnswer(member, text, most if cut else 2, most, cut)


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


def test_each_fault_is_counted():
    evaluation = ExactMatch()
    assert count_of(said("The answer is 2."), SUMS[0], evaluation) == ReplyCounts(1)
    assert count_of(said("Let us first see what", cut=True), SUMS[0], evaluation) == ReplyCounts(1, 1, 0, 1, 1)
    assert count_of(said("The answer is 3 and", cut=True), SUMS[0], evaluation) == ReplyCounts(1, 1)
    assert count_of(said(""), SUMS[0], evaluation) == ReplyCounts(1, empty=1)
    lettered = Example("Which?", "A", choices={"A": "red", "B": "blue"})
    assert count_of(said("I cannot tell."), lettered, MultipleChoice()) == ReplyCounts(1, unreadable=1)


def test_counts_of_every_node_are_those_of_its_first_answers():
    def node(number, answer, readable=True, cut=False):
        return {"node": number, "member": f"expert_{number}", "answer": answer, "readable": readable, "cut": cut}

    records = [
        {"asked": [{"nodes": [node(0, "2"), node(1, "", False)]}, {"nodes": [node(0, "true"), node(1, "no", False)]}]},
        {"asked": [{"nodes": [node(0, "so", False, True), node(1, "2")]}]},
    ]
    assert counts_by_node(records) == {
        0: ("expert_0", ReplyCounts(2, 1, 0, 1, 1)),
        1: ("expert_1", ReplyCounts(2, empty=1)),
    }
    assert as_rows(records)[1] == {
        "node": 1, "member": "expert_1", "answers": 2, "cut": 0, "empty": 1, "unreadable": 0, "cut_unreadable": 0
    }  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ({"a": ReplyCounts(100), "b": ReplyCounts(100, 9, 9, 40, 9)}, []),
        ({"a": ReplyCounts(100, 60), "b": ReplyCounts(100, 60)}, ["120 of 200 answers were cut at 16 tokens"]),
        (
            {"a": ReplyCounts(50), "b": ReplyCounts(50, 12, 0, 12, 12)},
            ["12 of 100 answers were cut at 16 tokens (12 of 50 of b), 12 of these cannot be read"],
        ),
        ({"a": ReplyCounts(10, empty=1)}, ["1 of 10 answers were empty: try with the base's chat template (--chat 1)"]),
        ({"a": ReplyCounts(10, unreadable=5)}, ["in 5 of 10 answers exact_match finds no answer, such as 'Hm.'"]),
        ({"a": ReplyCounts(10, 10, 0, 10, 10)}, ["10 of 10 answers were cut at 16 tokens, 10 of these cannot be read"]),
    ],
)
def test_many_is_worth_a_line_with_its_cure(counts, wanted):
    lines = complaints(counts, 16, "exact_match", "Hm.")
    assert len(lines) == len(wanted) and all(part in line for part, line in zip(wanted, lines, strict=True))
    assert all(any(cure in line for cure in ("--max_new_tokens", "--chat")) for line in lines)


def test_it_is_said_while_the_first_evaluation_runs(warnings):
    watch = ReplyWatch(ExactMatch(), SUMS, 16)
    for index in range(EARLY - 1):
        watch.answered(index, said("Let us see", cut=True))
    assert not warnings()
    watch.answered(EARLY, said("Let us see", cut=True))
    assert len(warnings()) == 1 and f"{EARLY} of {EARLY} answers were cut at 16 tokens" in warnings()[0]
    for index in range(100):
        watch.answered(index, said("", member="expert_1"))
    watch.end()
    assert len(warnings()) == 1, "once"


def test_what_came_late_is_said_at_the_end_of_the_evaluation(warnings):
    """Short answers are finished first, and long ones are those that are cut."""
    watch = ReplyWatch(ExactMatch(), SUMS, 16)
    for index in range(EARLY):
        watch.answered(index, said("2"))
    for index in range(32 * EARLY):
        watch.answered(index, said("Let us see", cut=True, member="expert_1"))
    assert not warnings()
    watch.end()
    [line] = warnings()
    assert "of expert_1)" in line and "--max_new_tokens" in line


def test_good_answers_and_short_second_questions_are_not_spoken_of(warnings):
    watch = ReplyWatch(ExactMatch(), SUMS, 16)
    for index in range(3 * EARLY):
        watch.answered(index, said("The answer is 2"))
        watch.answered(index, said("True, because", cut=True, most=10))  # a second question, which is to be short
    watch.end()
    assert not warnings()


def test_a_search_of_few_questions_is_looked_at_at_its_end(warnings):
    watch = ReplyWatch(ExactMatch(), SUMS, 16)
    for index in range(6):
        watch.answered(index, said(""))
    watch.end()
    [line] = warnings()
    assert line.startswith("6 of 6 answers were empty")
