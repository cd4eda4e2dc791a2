"""What a search has to beat, before it is paid for."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from repository import ROOT
from scorers import make_classifier, make_fuser
from worlds import PARAMS, chaotic, paper_pool

from swarm.data.example import Dataset, Example
from swarm.engines.scripted import ScriptedEngine
from swarm.errors import UserError
from swarm.evals import get_eval
from swarm.evals.eval import Eval
from swarm.evolution.fitness import Fitness
from swarm.programs import front_doors
from swarm.programs.baselines import CONSTANT, VOTE, baseline_table, baselines_program, majority_vote
from swarm.programs.blends import FUSED, RANKED
from swarm.system.prompts import Query
from swarm.system.scheduler import Scheduler
from swarm.system.system import single


def voted(said, examples, evaluation="exact_match", verdict="True"):
    """The vote of experts who say these things: said[expert][example]."""

    def speak(request):
        for index, example in enumerate(examples):
            if example.question in request.prompt:
                again = "Proposed answer" in request.prompt
                return verdict if again else said[int(request.member.name[-1])][index]
        raise AssertionError(request.prompt)

    eval_ = get_eval(evaluation) if isinstance(evaluation, str) else evaluation
    fitness = Fitness(Scheduler(ScriptedEngine(speak)), eval_, Dataset("d", examples, examples), PARAMS, "strict")
    systems = [single(expert) for expert in paper_pool(len(said)).experts()]
    return majority_vote(fitness, systems, examples)


def test_numbers_are_voted_on_as_numbers():
    examples = (Example("one?", "12"), Example("two?", "7"))
    said = [["The answer is 12.", "I say 8"], ["5", "8.0"], ["so it is 12.0", "the answer is 7"]]
    assert voted(said, examples)["strict"].tolist() == [1, 0]


def test_ties_go_to_the_first_and_those_who_say_nothing_have_no_vote():
    examples = (Example("one?", "12"),)
    assert voted([["12"], ["5"]], examples)["strict"].tolist() == [1]
    assert voted([["no idea"], ["well"], ["12"]], examples)["strict"].tolist() == [1]


def test_choices_are_voted_on_by_letter_and_in_both_passes():
    choices = {"A": "red", "B": "green"}
    examples = (Example("one?", "B", choices=choices), Example("two?", "A", choices=choices))
    said = [["A", "B"], ["The answer is B.", "(B)"], ["green", "I am lost"]]
    assert voted(said, examples, "multiple_choice")["strict"].tolist() == [1, 0]
    assert voted(said, examples, "abstainqa")["strict"].tolist() == [1, -1]
    assert voted(said, examples, "abstainqa", verdict="False")["strict"].tolist() == [0, 0]


def test_free_text_has_no_majority():
    class Prose(Eval):
        name = "prose"

        def judge(self, dataset, examples):
            yield [Query(example.question) for example in examples]
            return {"strict": np.zeros(len(examples))}

        def ballot(self, reply, example):
            return None

    assert voted([["a"], ["a"]], (Example("one?", "a"),), Prose()) is None


def test_a_vote_over_chaos_is_reproducible():
    examples = tuple(Example(f"q{i}", "red") for i in range(20))
    fitness = Fitness(
        Scheduler(ScriptedEngine(chaotic)), get_eval("exact_match"), Dataset("d", examples, examples), PARAMS, "strict"
    )
    systems = [single(expert) for expert in paper_pool(3).experts()]
    one, two = (majority_vote(fitness, systems, examples)["strict"].tolist() for _ in range(2))
    assert one == two and 0 < sum(one) < 20


def test_the_script_as_a_user_types_it(tmp_path):
    shutil.copytree(ROOT / "data", tmp_path / "data")
    command = [sys.executable, ROOT / "scripts/baselines.py", "-e", "exact_match", "-d", "graph_tasks_small"]
    limits = ["--dev_limit", "30", "--test_limit", "20"]
    done = subprocess.run([*command, *limits], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert "majority vote" in done.stdout and "<- best expert on dev" in done.stdout and "n=30" in done.stdout


def test_it_agrees_with_what_a_search_says_of_the_same_experts(tmp_path, monkeypatch, capsys):
    from swarm.programs.search import search_program

    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    task = ["-e", "exact_match", "-d", "graph_tasks_small", "--dev_limit", "20", "--test_limit", "20"]
    assert front_doors.guarded(lambda: baselines_program([*task, "--json"])) == 0
    table = json.loads(capsys.readouterr().out)
    assert search_program([*task, "--graph_num", "2", "--trial_num", "2", "-m", "0", "-n", "mine"]) == 0
    scores = json.loads(Path("search/mine/result.json").read_text())["scores"]
    best = scores["best_single"]
    assert table[best["name"]]["test"] == best["test"]
    assert table["uniform average"]["dev"] == scores["uniform_average"]["dev"]
    assert set(table[VOTE]) == {"dev", "test"}


@pytest.mark.parametrize("split", ["dev", "test"])
def test_one_split_alone(tmp_path, monkeypatch, capsys, split):
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    task = ["-e", "exact_match", "-d", "graph_tasks_small", "--dev_limit", "5", "--test_limit", "5", "--split", split]
    assert front_doors.guarded(lambda: baselines_program([*task, "--json"])) == 0
    assert set(json.loads(capsys.readouterr().out)[VOTE]) == {split}


def test_a_constant_answer_needs_no_experts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [{"question": "q", "answer": answer} for answer in ("7", "7", "8", "17")]
    Path("mine.json").write_text(json.dumps({"dev": rows, "test": rows[2:]}))
    task = ["-e", "exact_match", "-d", "mine.json", "--without-experts"]
    assert front_doors.guarded(lambda: baselines_program([*task, "--json"])) == 0
    scores = json.loads(capsys.readouterr().out)[CONSTANT]
    assert (scores["dev"]["strict"]["mean"], scores["test"]["strict"]["mean"]) == (0.5, 0)
    assert front_doors.guarded(lambda: baselines_program(task)) == 0
    assert "most frequent answer" in capsys.readouterr().out


def test_a_split_without_any_vote_is_shown_so():
    one = {"strict": {"mean": 0.5, "low": 0.1, "high": 0.9, "size": 2}}
    table = {"expert_0": {"dev": one, "test": one}, VOTE: {"dev": one}}
    lines = baseline_table(table, ("dev", "test"), "strict")
    assert lines[2].split()[-2:] == ["no", "votes"]


def test_blends_are_scored_beside_the_experts(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    make_classifier(tmp_path / "ranker", window=64)
    make_fuser(tmp_path / "fuser")
    task = ["-e", "exact_match", "-d", "graph_tasks_small", "--dev_limit", "12", "--split", "dev"]
    words = [*task, "--ranker", "ranker", "--ranking", "bubble", "--fuser", "fuser", "--top_k", "2"]
    assert baselines_program(words) == 0
    said = capsys.readouterr().out
    assert f"{RANKED}, {FUSED}: each of their answers asks all 6 experts" in said
    assert baselines_program([*words, "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    experts = [table[who]["dev"]["strict"]["mean"] for who in table if who.startswith("expert_")]
    assert (
        0 <= table[RANKED]["dev"]["strict"]["mean"] <= min(1, sum(experts)) and table[RANKED]["dev"]["strict"]["size"]
    )
    assert table[FUSED]["dev"]["strict"]["mean"] == 0, "a random fuser knows nothing"
    assert len([line for line in said.splitlines() if "<- best expert" in line and RANKED in line]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fuser", "fuser"], "--fuser is given without --ranker; name the model that finds the best answers"),
        (["--ranker", "./nowhere"], "the command line: model ./nowhere is not there; wanted a model's folder"),
        (["--ranker", "ranker", "--top_k", "2"], "--top_k says how many answers a fuser reads; add --fuser"),
    ],
)
def test_blends_that_cannot_be(tmp_path, monkeypatch, words, message):
    shutil.copytree(ROOT / "data", tmp_path / "data")
    make_classifier(tmp_path / "ranker")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        baselines_program(["-e", "exact_match", "-d", "graph_tasks_small", *words])
    assert "\n" not in str(caught.value)
