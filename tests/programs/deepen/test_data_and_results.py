"""The published data files and the result file."""

import json
import logging
import os

import pytest
from deepen_files import real_data, write_lines

from swarm.errors import UserError
from swarm.programs.deepen.published_data import read_questions, warn_of_shared
from swarm.programs.deepen.result_file import ResultFile, read_results, result_name, result_record

QUESTIONS = [
    {"question": "who", "answer": ["me", "I"]},
    {"question": "which", "A": "this", "B": "that", "answer": "B"},
    {"question": "who", "answer": ["you"]},
]


@pytest.fixture
def questions(tmp_path):
    return read_questions(write_lines(tmp_path / "q.jsonl", QUESTIONS))


def test_records_with_one_answer_many_answers_and_choices(questions):
    assert [question.answers for question in questions] == [("me", "I"), ("B",), ("you",)]
    assert [question.choices for question in questions] == [{}, {"A": "this", "B": "that"}, {}]
    assert questions[2].question == "who" and "line 3" in questions[2].where


@pytest.mark.parametrize(
    ("name", "records"),
    [
        ("natural-questions.jsonl", 3610),
        ("wikipedia-dev-1900.jsonl", 1900),
        ("wikipedia-demon-all_sample5_seed42.jsonl", 5),
        ("v1.0-simplified_simplified-nq-train.simpled_few_shot_doman_6926_sample5_seed43.jsonl", 5),
        ("train_sample300_seed42.cleand.jsonl", 300),
        ("demon_4.jsonl", 4),
    ],
)
def test_published_files_have_their_records(name, records):
    questions = read_questions(real_data(name))
    assert len(questions) == records
    assert all(question.answers and question.question for question in questions)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "has no record"),
        ('{"question": "a"}', "has no answer; there are question"),
        ("[1]", "wanted an object"),
        ('{"question": 1, "answer": "x"}', "wanted a text, and a text or a list"),
        ('{"question": "a", "answer": []}', "wanted a text, and a text or a list"),
        ('{"question": "a", "answer": "x"}\n{', "not valid JSON at line 2"),
    ],
)
def test_a_wrong_record_is_named(tmp_path, content, said):
    (tmp_path / "q.jsonl").write_text(content)
    with pytest.raises(UserError, match=said):
        read_questions(tmp_path / "q.jsonl")


def test_what_a_search_reads_is_read(tmp_path):
    (tmp_path / "q.csv").write_text("question;answer\nWho?;Ada\n")
    (tmp_path / "r.json").write_text('[{"prompt": "Who?", "completion": "Ada"}]')
    for name in ("q.csv", "r.json"):
        assert [(one.question, one.answers) for one in read_questions(tmp_path / name)] == [("Who?", ("Ada",))]
    with pytest.raises(UserError, match="cannot be read"):
        read_questions(tmp_path / "none.csv")


def test_questions_of_dev_in_test_are_said(tmp_path, questions, caplog):
    warn_of_shared(write_lines(tmp_path / "dev.jsonl", QUESTIONS[:1]), questions)
    assert f"2 of 3 test questions are in {tmp_path / 'dev.jsonl'} too" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        warn_of_shared(write_lines(tmp_path / "other.jsonl", QUESTIONS[1:2]), questions[:1])
        for absent in (None, tmp_path / "gone.jsonl"):
            warn_of_shared(absent, questions)
        assert not caplog.records
        (tmp_path / "broken.jsonl").write_text("{")
        warn_of_shared(tmp_path / "broken.jsonl", questions)
    [record] = caplog.records
    assert "not compared with those of dev" in caplog.text and record.levelname == "INFO"


def test_the_name_of_a_result_file():
    assert result_name(0.15, 5) == "ensemble_lr0.15_learning_epochs_nums5.jsonl"
    assert result_name(1, 0) == "ensemble_lr1.0_learning_epochs_nums0.jsonl"


def records(questions, fields=("question", "A", "B", "answer")):
    return [
        result_record(question, fields, f"<s>{question.question}?", f" é{index}\n", f"é{index}")
        for index, question in enumerate(questions)
    ]


def test_a_record_has_the_published_fields_first(questions):
    first, second, _ = records(questions)
    assert list(first) == ["answer", "prediction", "main_model_input", "all", "model_answer", "question"]
    assert first["all"] == "<s>who? é0\n" and first["model_answer"] == [" é0\n"] and first["answer"] == ["me", "I"]
    assert list(second)[6:] == ["A", "B"]


def test_a_run_is_gone_on_with_after_its_last_whole_line(tmp_path, questions):
    path, made = tmp_path / "res" / result_name(0.15, 5), records(questions)
    with ResultFile(path, questions) as file:
        assert file.done == 0
        file.append(made[0])
        file.append(made[1])
        assert file.done == 2
    whole = path.read_bytes()
    assert whole.count(b"\n") == 2 and "é0" in whole.decode()
    for cut in range(1, len(whole) - whole.index(b"\n")):
        path.write_bytes(whole[:-cut])
        left = 2 if cut == 1 else 1
        assert len(read_results(path)) == left, "only a line's end is missing" if left == 2 else "torn"
        with ResultFile(path, questions) as file:
            assert file.done == left
            for record in made[left:]:
                file.append(record)
        assert read_results(path) == made
    with ResultFile(path, questions, [record["main_model_input"] for record in made]) as file:
        assert file.done == 3


def test_one_process_at_a_time_writes_to_a_file(tmp_path, questions):
    path, made = tmp_path / "res" / result_name(0.15, 5), records(questions)
    with ResultFile(path, questions) as file:
        file.append(made[0])
        before = path.read_bytes()
        with pytest.raises(UserError, match="is being written by another process; .* -rsd"):
            ResultFile(path, questions)
        assert path.read_bytes() == before
    with ResultFile(path, questions) as file:
        assert file.done == 1


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_file_in_its_place_is_refused_and_not_written_to(tmp_path, questions, kind):
    path, mine = tmp_path / "res" / result_name(0.15, 5), tmp_path / "mine.jsonl"
    path.parent.mkdir()
    mine.write_text("{}\n{")
    path.symlink_to(mine) if kind == "link" else os.mkfifo(path)
    with pytest.raises(UserError, match=r"nums5.jsonl is a .*; wanted an ordinary file or nothing there"):
        ResultFile(path, questions)
    assert mine.read_text() == "{}\n{"


def test_a_text_that_is_no_unicode_comes_back(tmp_path, questions):
    with ResultFile(tmp_path / "r.jsonl", questions) as file:
        file.append({"question": "who", "answer": ["me", "I"], "prediction": "\udce9"})
    assert read_results(tmp_path / "r.jsonl")[0]["prediction"] == "\udce9"


def test_results_of_other_questions_are_refused(tmp_path, questions):
    path, made = tmp_path / "r.jsonl", records(questions)
    write_lines(path, made)
    before = path.read_bytes()
    for others, asked, said in (
        (questions[:2], None, "has 3 answers, given 2 questions"),
        (questions[::-1], None, 'line 1 belongs to another run: answer \\["me", "I"\\], wanted \\["you"\\]'),
        ([questions[0], questions[0], questions[2]], None, 'line 2 .*question "which", wanted "who"'),
        (questions, ["x"] * 3, "main_model_input"),
    ):
        with pytest.raises(UserError, match=said) as error:
            ResultFile(path, others, asked)
        assert "-rsd" in str(error.value) and path.read_bytes() == before


@pytest.mark.parametrize("line", ["{", "[1]", "", '{"prediction": "x"}'])
def test_a_damaged_line_before_the_last_is_an_error(tmp_path, questions, line):
    good = json.dumps(records(questions)[0])
    (tmp_path / "r.jsonl").write_text(f"{good}\n{line}\n{good}\n")
    with pytest.raises(UserError, match=r"line 2"):
        read_results(tmp_path / "r.jsonl")
