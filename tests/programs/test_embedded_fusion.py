"""The embedded default with composites as a user types it: six experts, a vote and a fusion of two model families."""

import json
import re
import shutil
import signal
import time

import pytest
from repository import ROOT

from swarm.programs.baselines import baselines_program

TASK = ("-e", "exact_match", "-d", "graph_tasks_small")
SEARCH = (*TASK, "--composites", "data/embedded/composites", "--graph_num", 3, "--trial_num", 3, "--max_iteration", 1,
          "--dev_limit", 8, "--test_limit", 6, "--seed", 0)  # fmt: skip


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder with the data that git brings."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "data" / "embedded", folder / "data" / "embedded")
    (folder / "data" / "eval").mkdir()
    shutil.copy(ROOT / "data" / "eval" / "graph_tasks_small.json", folder / "data" / "eval")
    return folder


@pytest.fixture(scope="module")
def whole(programs, clone):
    """A run that nothing ended, and what it said."""
    code, out, err = programs.run("search", *SEARCH, "--no-cache", "-n", "whole", cwd=clone)
    assert code == 0, out + err
    return clone / "search" / "whole", out


def story(run):
    """State, scores and the found system, without what was asked again."""
    state, result = (json.loads((run / name).read_text()) for name in ("state.json", "result.json"))
    for record in (state, result):
        record.pop("usage")
    result.pop("fusions", None)  # what this sitting has asked
    return state, result, json.loads((run / "best" / "system.json").read_text())


def test_a_search_assigns_experts_a_vote_and_a_fusion(whole):
    run, out = whole
    assert "fusion (fusion)" in out and "majority (vote)" in out, "the found graph says what its members are"
    assert "best composite alone (" in out
    assert (run / "graph.png").read_bytes()[:4] == b"\x89PNG"
    used = {path.parent.name for path in (run / "best" / "experts").glob("*/node.json")}
    assert used == {"fusion", "majority"}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {f"model_{index}_now" for index in range(8)} <= {key for line in lines for key in line}


def test_what_was_found_scores_the_same_again(programs, clone, whole):
    run, _ = whole
    arguments = (run, *TASK, "--split", "test", "--limit", 6, "--json", "--no-cache")
    code, out, err = programs.run("evaluate", *arguments, cwd=clone)
    assert code == 0, out + err
    assert json.loads(out)["scores"] == json.loads((run / "result.json").read_text())["scores"]["found"]["test"]


def test_killed_it_goes_on_to_the_same_end(programs, clone, whole):
    started = programs.start("search", *SEARCH, "--no-cache", "-n", "killed", cwd=clone)
    run = clone / "search" / "killed"
    while not started.done() and not ((run / "metrics.jsonl").exists() and (run / "state.json").exists()):
        time.sleep(0.001)
    started.kill(signal.SIGKILL)
    assert started.wait()[0] == -signal.SIGKILL, "it was still at work"
    code, out, err = programs.run("search", "--resume", run, cwd=clone)
    assert code == 0, out + err
    assert story(run) == story(whole[0])


def test_the_fusion_beats_all_its_members(capsys, clone, monkeypatch):
    """They are of about equal strength. With its other model as main it needs longer steps (specification, 1.5b)."""
    monkeypatch.chdir(clone)
    record = json.loads((clone / "data/embedded/composites/fusion/node.json").read_text())
    by_second = record | {"main": "second"}
    variants = {
        "fusion": record,
        "second_alone": by_second | {"learning_rate": 0},
        "second_main": by_second,
        "second_main_far": by_second | {"learning_rate": 0.5},
    }
    for name, variant in variants.items():
        (clone / "data/embedded/variants" / name).mkdir(parents=True)
        (clone / "data/embedded/variants" / name / "node.json").write_text(json.dumps(variant))
    options = ["--composites", "data/embedded/variants", "--split", "test", "--test_limit", "180", "--json"]
    assert baselines_program([*TASK, *options]) == 0
    printed = re.search(r"^\{.*\}$", capsys.readouterr().out, re.MULTILINE)[0]
    score = {name: scores["test"]["strict"]["mean"] for name, scores in json.loads(printed).items()}
    best = max(score[name] for name in ("expert_0_edges", "expert_2_weight", "second_alone"))
    assert best < 0.4 and min(score["fusion"], score["second_main_far"]) > best + 0.2
    assert score["second_main"] < best + 0.1
