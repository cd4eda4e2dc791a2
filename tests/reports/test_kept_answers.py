"""answers.jsonl: what was written is read again, and a damaged line is one error that names it."""

import json

import numpy as np
import pytest
from worlds import PARAMS, chaotic, paper_pool

from swarm.data.example import Dataset, Example
from swarm.engines.scripted import ScriptedEngine
from swarm.errors import UserError
from swarm.evals.abstainqa import AbstainQA
from swarm.evals.exact_match import ExactMatch
from swarm.evolution.answer_records import FOUND, answer_records, as_lines
from swarm.evolution.fitness import Fitness
from swarm.reports.by_column import by_column, columns_of, groups
from swarm.reports.kept_answers import parse_answers, read_answers
from swarm.system.scheduler import Scheduler
from swarm.system.system import System, graph_of, single

EXAMPLES = tuple(
    Example(
        f"question {i}\nof two lines",
        "red" if i % 2 else "blue",
        f"id{i}",
        "even odd".split()[i % 2],
        {},
        (),
        {"level": str(i % 3)},
    )
    for i in range(6)
)


def judged(examples, evaluation, answers=chaotic):
    """A chain of two experts and one of them alone on these examples, as they are judged."""
    experts = tuple(paper_pool(2).experts())
    systems = {FOUND: System(graph_of(2, [(1, 0)]), (0, 1), experts), "best_single": single(experts[0])}
    dataset = Dataset("words", examples, examples)
    fitness = Fitness(Scheduler(ScriptedEngine(answers)), evaluation, dataset, PARAMS, "strict")
    return dict(zip(systems, fitness.judge_traced(list(systems.values()), examples), strict=True))


def test_what_is_written_is_read_again():
    evaluation = ExactMatch()
    found = judged(EXAMPLES, evaluation)
    text = as_lines(answer_records("test", EXAMPLES, found, evaluation)) + as_lines(
        answer_records("dev", EXAMPLES[:2], found, evaluation)
    )
    kept = list(parse_answers(text, "file", "test"))
    assert [one.index for one in kept] == list(range(6)) and len(list(parse_answers(text, "file", "dev"))) == 2
    for index, (one, example) in enumerate(zip(kept, EXAMPLES, strict=True)):
        assert (one.question, one.gold, one.id, one.domain) == (
            example.question,
            example.answer,
            example.id,
            example.domain,
        )
        assert one.column("level") == str(index % 3) and one.column("nothing") == ""
        trace = found[FOUND].passes[0][index]
        [query] = one.asked
        assert one.answer == query.answer == trace.text
        for position, node in enumerate(query.nodes):
            answer = trace.answers[node.node]
            assert query.prompt(position) == trace.prompt(node.node)
            assert (node.member, node.answer, node.tokens, node.cut) == (
                answer.member,
                answer.text,
                answer.new_tokens,
                answer.cut,
            )
        assert one.scores[FOUND]["strict"] == found[FOUND].judgement["strict"][index]
        assert one.others == {"best_single": found["best_single"].passes[0][index].text}


def test_all_passes_of_an_eval_are_kept():
    """AbstainQA asks once more, for each scorer."""
    examples = tuple(Example(f"Which, {i}?", "A", choices={"A": "red", "B": "green"}) for i in range(3))
    evaluation = AbstainQA()
    found = judged(examples, evaluation)
    kept = list(parse_answers(as_lines(answer_records("dev", examples, found, evaluation)), "file", "dev"))
    for index, one in enumerate(kept):
        assert [query.number for query in one.asked] == [0, 1, 1]
        assert [query.answer for query in one.asked[1:]] == [found[FOUND].passes[1][index + k * 3].text for k in (0, 1)]
        assert one.asked[1].text.endswith("Directly answer with true or false.")
        assert one.choices == {"A": "red", "B": "green"}


def test_an_eval_that_leaves_questions_out_keeps_no_answers(caplog):
    """Nobody can tell then to which question an answer belongs; its scores count all the same."""
    found = judged(EXAMPLES, ExactMatch())
    found[FOUND].passes.append(found[FOUND].passes[0][:4])
    assert list(answer_records("test", EXAMPLES, found, ExactMatch())) == []
    assert "eval exact_match does not ask about all examples" in caplog.text


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda line: line[:-20], "line 2 is no record of an answer"),
        (lambda line: "[]", "line 2 is no record"),
        (lambda line: "[" * 100_000, "line 2 is no record"),
        (lambda line: line.replace('"found"', '"lost"'), "line 2 is no record of an answer .KeyError: 'found'"),
        (
            lambda line: line.replace('"from": [1]', '"from": [7]'),
            "node 0 was told by one that has not answered before",
        ),
        (lambda line: json.dumps(json.loads(line) | {"asked": []}), "nothing was asked"),
    ],
)
def test_a_damaged_line_is_named(damage, message):
    evaluation = ExactMatch()
    lines = as_lines(answer_records("test", EXAMPLES, judged(EXAMPLES, evaluation), evaluation)).splitlines()
    lines[1] = damage(lines[1])
    with pytest.raises(UserError, match=message) as refused:
        list(parse_answers("\n".join(lines), "some/answers.jsonl", "test"))
    assert "some/answers.jsonl: line 2" in str(refused.value)


def test_a_run_without_answers_is_named_with_the_cure(tmp_path):
    with pytest.raises(UserError, match=r"has kept no answers .*--save_answers FILE"):
        read_answers(tmp_path, "test")
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "answers.jsonl").write_text("")
    with pytest.raises(UserError, match="has no answers of dev"):
        read_answers(tmp_path, "dev")


def test_scores_by_a_column():
    evaluation = ExactMatch()
    found = judged(EXAMPLES, evaluation)
    found[FOUND].judgement["strict"][:] = [1, 0, 1, 0, 1, 0]  # right where the domain is even
    found["best_single"].judgement["strict"][:] = [0, 1, 0, 1, 0, 1]
    kept = list(parse_answers(as_lines(answer_records("test", EXAMPLES, found, evaluation)), "file", "test"))
    assert columns_of(kept) == ["domain", "level"]
    assert {value: len(own) for value, own in groups(kept, "level").items()} == {"0": 2, "1": 2, "2": 2}
    heading, even, odd = by_column(kept, "domain", "strict", (0.0, 1.0), "best_single")
    assert heading.split() == ["domain", "questions", "found", "system", "best", "single", "difference"]
    assert even.split()[:4] == ["even", "3", "1.000", "0.000"] and odd.split()[:4] == ["odd", "3", "0.000", "1.000"]
    assert np.isfinite(float(even.split()[4]))
    assert by_column(kept, "domain", "strict", (0.0, 1.0))[1].split()[2] == "1.000"
    with pytest.raises(
        UserError, match="--by colour: no question has such a column; there are id, domain, gold, level"
    ):
        groups(kept, "colour")
