"""Whoever is scored on questions that it was fitted on is named, with how many of them: by all programs that score."""

import json
import shutil
from pathlib import Path

import pytest
from route_runs import bring_data

from swarm.evolution.fitted_on_dev import TRAINING_RECORD, trained_on
from swarm.programs import front_doors
from swarm.programs.baselines import baselines_program
from swarm.programs.evaluate import evaluate_program
from swarm.programs.route.route import route_program
from swarm.programs.search import search_program
from swarm.training.trained_adapter import EXPERTS

TASK = "-e exact_match -d graph_tasks_small".split()
SMALL = "--graph_num 2 --trial_num 2 -m 0 --dev_limit 30 --test_limit 10 -n mine".split()
FLATTERED = "router mine was fitted on 24 of these 30 dev questions: "


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A router of the embedded experts, fitted on the first 24 dev questions, and a system that was found with it."""
    folder = bring_data(tmp_path_factory.mktemp("clone"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        assert route_program(["fit", *TASK, "--dev_limit", "24", "--out", "routers/mine"]) == 0
        assert search_program([*TASK, *SMALL, "--composites", "routers"]) == 0
    return folder


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def warned(capsys, program, *words):
    """The warnings of a run that comes to its end."""
    capsys.readouterr()
    assert front_doors.guarded(lambda: program([str(word) for word in words])) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    return [line.removeprefix("warning: ") for line in lines]


def uses_the_router(run):
    return "mine" in json.loads((run / "best" / "system.json").read_text())["places"]


def test_a_search_says_that_dev_flatters_it(place, capsys):
    assert FLATTERED + "dev flatters it" in (place / "search/mine/log.txt").read_text()
    [line] = warned(capsys, search_program, *TASK, *SMALL[:-2], "--composites", "routers", "--dry-run")
    assert line == f"{FLATTERED}dev flatters it, and with it every system that uses it; trust test"
    [line] = warned(
        capsys, search_program, *TASK, *SMALL[:-2], "--composites", "routers", "--refresh_routers", "1", "--dry-run"
    )
    assert line.startswith("router mine is fitted on the dev questions (--refresh_routers): dev flatters it")


def test_a_search_on_other_questions_says_nothing(place, capsys):
    record = json.loads(Path("data/eval/graph_tasks_small.json").read_text())
    record["dev"] = record["dev"][24:]
    Path("data/eval/graph_tasks_small.json").write_text(json.dumps(record))
    assert warned(capsys, search_program, *TASK, *SMALL[:-2], "--composites", "routers", "--dry-run") == []


def test_baselines_and_route_eval_name_it_where_it_has_seen_the_questions(place, capsys):
    few = ["--dev_limit", "30", "--test_limit", "10"]
    [line] = warned(capsys, baselines_program, *TASK, *few, "--composites", "routers", "--json")
    assert line == f"{FLATTERED}its score on them is optimistic, and says nothing about new ones"
    assert warned(capsys, baselines_program, *TASK, *few, "--composites", "routers", "--split", "test") == []
    [line] = warned(capsys, route_program, "eval", "routers/mine", *TASK, *few, "--split", "dev", "--json")
    assert line.startswith(FLATTERED)
    assert warned(capsys, route_program, "eval", "routers/mine", *TASK, *few, "--json") == []


def test_evaluate_names_it_where_the_system_uses_it(place, capsys):
    assert uses_the_router(place / "search/mine"), "so that there is something to say"
    few = ["--limit", "30", "--json"]
    [line] = warned(capsys, evaluate_program, "search/mine", "--split", "dev", *few)
    assert line.startswith(f"{FLATTERED}its score on them is optimistic")
    assert warned(capsys, evaluate_program, "search/mine", *few) == []


def test_of_one_that_does_not_say_it_is_said(place, capsys):
    """As an earlier version has written it; what `route.py fit` has put beside it still tells `route.py eval`."""
    facts = place / "routers/mine/classifier/router.json"
    record = json.loads(facts.read_text())
    del record["fitted_on"]
    facts.write_text(json.dumps(record))
    [line] = warned(capsys, search_program, *TASK, *SMALL[:-2], "--composites", "routers", "--dry-run")
    assert line.startswith("router mine, of an earlier version, does not say which questions it was fitted on")
    few = ["--dev_limit", "30", "--test_limit", "10", "--json"]
    [line] = warned(capsys, route_program, "eval", "routers/mine", *TASK, *few, "--split", "dev")
    assert line.startswith(FLATTERED)
    assert warned(capsys, route_program, "eval", "routers/mine", *TASK, *few) == []


def test_an_expert_that_was_trained_on_the_data_by_its_own_record(place, capsys):
    folder = place / "data/embedded/experts/expert_1_degree"
    data = [
        {"source": "data/eval/graph_tasks_small.json", "split": "dev", "rows": 100, "digest": "x"},
        {"source": "elsewhere/graph_tasks_small.jsonl", "split": "", "rows": 7, "digest": "x"},
        {"source": "data/eval/graph_tasks_small.json", "split": "test", "rows": 5, "digest": "x"},
        {"source": "owner/other", "split": "dev", "rows": 5, "digest": "x"},
    ]
    (folder / TRAINING_RECORD).write_text(json.dumps({"data": data}))
    assert EXPERTS.record == TRAINING_RECORD, "as scripts/finetune.py calls it"
    first, second = warned(capsys, search_program, *TASK, *SMALL[:-2], "--dry-run")
    assert "degree was trained on 100 rows of data/eval/graph_tasks_small.json, split dev (finetune.json)" in first
    assert "7 rows of elsewhere/graph_tasks_small.jsonl (finetune.json): where those are the dev questions" in second
    assert [rows for _, rows in trained_on(folder, "graph_tasks_small", "test")] == [7, 5]
    for damaged in ("{", "[]", '{"data": [1]}', '{"data": [{"source": "a"}]}'):
        (folder / TRAINING_RECORD).write_text(damaged)
        assert trained_on(folder, "graph_tasks_small", "dev") == []
