"""`h-swarm data show`: what it says of a set, and that the command which it gives for the next step is right."""

import csv
import json
import re
import shlex

import pytest

from swarm.programs.command import command_program
from swarm.programs.front_doors import guarded


def shown(capsys, *words):
    """What it prints of a set that it can read."""
    assert guarded(lambda: command_program(["data", "show", *words])) == 0
    return capsys.readouterr().out


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open("my questions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("problem", "solution"), *((f"{n} + {n} = ?", 2 * n) for n in range(1, 31))])
    record = {"question": "q" * 700, "answer": "B", "choices": {"A": "no", "B": "yes"}, "context_chunks": ["c"]}
    (tmp_path / "choices.json").write_text(json.dumps({"dev": [record], "test": [record]}))
    return tmp_path


def test_a_table_with_columns_of_its_own(folder, capsys):
    words = ["-d", "my questions.csv", "--columns", "question=problem,answer=solution", "--dev_size", "20"]
    said = shown(capsys, *words)
    assert said.startswith("my questions: 20 dev, 10 test (digest ")
    assert re.search(r"the first question:\n  (\d+) \+ \1 = \?\nanswer: \d+\n", said)


def test_choices_and_chunks(folder, capsys):
    said = shown(capsys, "-d", "choices.json")
    assert "choices: in 1 of 1\ncontext chunks: in 1 of 1\n" in said
    assert f"  {'q' * 600} ...\n  A: no\n  B: yes\nanswer: B\n" in said


@pytest.mark.parametrize(
    "words",
    [
        ["-d", "my questions.csv", "--columns", "question=problem,answer=solution", "--dev_size", "20"],
        ["-d", "choices.json"],
    ],
)
def test_the_command_for_the_next_step_reads_the_same_set(folder, capsys, words):
    [command] = re.findall(r"^  h-swarm (baselines .*)$", shown(capsys, *words), re.MULTILINE)
    assert guarded(lambda: command_program([*shlex.split(command), "--without-experts"])) == 0
