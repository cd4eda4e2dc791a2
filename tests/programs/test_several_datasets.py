"""A search over two datasets: a floor that binds, one that nobody reaches, and what cannot be named."""

import json
import shutil
from pathlib import Path

import pytest
from repository import ROOT

from swarm.errors import UserError
from swarm.evolution.checked_config import make_config
from swarm.programs import front_doors
from swarm.programs.command import command_program
from swarm.programs.task import read_task

SMALL = "--graph_num 3 --trial_num 3 -m 1 --dev_limit 20 --test_limit 10".split()
DOMAINS = {"edges": ("edges", "degree", "weight"), "paths": ("connected", "shortest", "heaviest")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with the embedded questions in two sets, and three searches over both."""
    where = tmp_path_factory.mktemp("datasets")
    shutil.copytree(ROOT / "data", where / "data")
    every = json.loads((ROOT / "data/eval/graph_tasks_small.json").read_text())
    for name, domains in DOMAINS.items():
        part = {split: [row for row in every[split] if row["domain"] in domains] for split in ("dev", "test")}
        (where / f"data/eval/{name}.json").write_text(json.dumps(part))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        patch.setenv("XDG_CACHE_HOME", str(where / "cache"))
        assert run("search", *BOTH, *SMALL, "--weights", "edges=2", "-n", "free") == 0
        for name, floor in (("bound", 0.75), ("high", 0.99)):
            assert run("search", *BOTH, *SMALL, "--weights", "edges=2", "--at_least", f"paths={floor}", "-n", name) == 0
    return where


BOTH = ["-e", "exact_match", "-d", "edges,paths"]


def run(*words):
    return front_doors.guarded(lambda: command_program(list(map(str, words))))


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    return folder


def result(name):
    return json.loads(Path(f"search/{name}/result.json").read_text())


def dev_means(name):
    return {one["name"]: one["scores"]["found"]["dev"]["strict"]["mean"] for one in result(name)["datasets"]}


def test_a_floor_binds(here, capsys):
    free, bound = dev_means("free"), dev_means("bound")
    assert free["paths"] < 0.75 <= bound["paths"] and bound["edges"] < free["edges"]
    found = result("free")["scores"]["found"]["dev"]["strict"]
    assert found["mean"] == pytest.approx((2 * free["edges"] + free["paths"]) / 3) and found["size"] == 40
    assert result("free")["scores"]["found"]["score_in_search"] == pytest.approx(found["mean"])
    assert run("show", "search/bound") == 0
    assert "floors on dev (--at_least) are reached: paths" in capsys.readouterr().out


def test_of_a_floor_that_nobody_reaches_the_nearest_is_shown(here, capsys):
    assert run("show", "search/high") == 0
    shown = capsys.readouterr().out
    nearest = dev_means("high")["paths"]
    assert f"no system reached every floor on dev; the nearest has paths {nearest:.3f}, wanted 0.99" in shown
    assert nearest >= dev_means("bound")["paths"]
    lower = str(nearest - 0.01)
    assert run("search", *BOTH, *SMALL, "--at_least", f"paths={lower}", "-n", "lower") == 0
    assert "are reached: paths" in capsys.readouterr().out, "the cure that was named"


def test_it_is_scored_again_by_dataset_and_resumed(here, capsys):
    assert run("evaluate", "search/free", "--split", "dev", "--json", "--by", "dataset") == 0
    again = json.loads(capsys.readouterr().out)
    assert {name: own["strict"]["mean"] for name, own in again["datasets"].items()} == dev_means("free")
    assert (
        run("evaluate", "search/free", "-d", "data/eval/edges.json,data/eval/paths.json", "--split", "dev", "--json")
        == 0
    )
    named = json.loads(capsys.readouterr().out)
    assert named["scores"] == again["scores"], "with the run's weights and limits"
    assert run("search", "--resume", "search/free") == 0
    assert run("baselines", *BOTH, "--dev_limit", "4", "--test_limit", "2") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--weights", "egdes=2"], "--weights has egdes, and -d names no such dataset; did you mean edges?"),
        (["--weights", "edges=0"], "--weights has edges=0, wanted a number above 0"),
        (["--weights", "edges=much"], "--weights has edges=much, wanted a number"),
        (["--weights", "edges=1,edges=2"], "--weights says edges twice"),
        (["--at_least", "paths=60"], "--at_least has paths=60, wanted a score of exact_match, from 0 to 1"),
        (["--at_least", "paths"], "--at_least has 'paths'; wanted NAME=VALUE"),
        (["-e", "edges=exact_match"], "-e edges=exact_match has no eval for paths; add paths=EVAL"),
        (["-e", "edges=exact_match,paths=multiple_choice"], "paths: dev record 0 has no choices"),
        (["-d", "edges", "--weights", "edges=2"], "--weights is for several datasets, and -d names edges only"),
        (["-d", "edges,pahts"], 'no dataset "pahts"'),
    ],
)
def test_what_cannot_be_named(here, capsys, words, said):
    assert run("search", *BOTH, *SMALL, *words, "-n", "never") == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not Path("search/never").exists()


def test_what_the_chat_template_is_told_reaches_who_is_asked_in_it(here, caplog):
    """A dataset of questions without the template, beside another; ways of asking that differ are refused."""
    given = {"eval_type": "exact_match", "dataset": "edges,plain", "system_message": "Be brief."}
    content = json.loads(Path("data/eval/paths.json").read_text())
    Path("data/eval/plain.json").write_text(json.dumps(content | {"generation": {"chat": False}}))
    assert read_task(make_config(given)).params.system_message == "Be brief."
    assert "asked without the chat template, and so without what it is told: plain" in caplog.text
    Path("data/eval/plain.json").write_text(json.dumps(content | {"generation": {"stop_strings": ["\n"]}}))
    with pytest.raises(UserError, match="ask for stop_strings in different ways .* with --stop_strings"):
        read_task(make_config(given))
    assert read_task(make_config(given | {"stop_strings": "\n"})).params.stop_strings == ("\n",)
