"""Plugins through the front doors: an installed package, files of the user's, and what is refused."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

from swarm.programs import front_doors
from swarm.programs.list_plugins import plugins_program
from swarm.programs.search import search_program

EXPERTS = ROOT / "data/embedded/experts"
SMALL = ("-i", EXPERTS, "--graph_num", 2, "--trial_num", 2, "-m", 1, "-n", "mine", "--max_new_tokens", 3, "--no-cache")
SOURCE = ROOT / "tests" / "plugin_package" / "src" / "shouting"

# everything that the package has, in one file
FILE = f"""
from dataclasses import dataclass, replace
from swarm.plugins import register
{"".join((SOURCE / f"{name}.py").read_text() for name in ("members", "datasets", "trackers"))}
register("members", "longest")(read_longest)
register("datasets", "calls")(calls)
register("trackers", "lines")(Lines)

@register("evals", "digits")
def digits(reply, example):
    return float(any(letter.isdigit() for letter in reply))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which pip has really installed the package."""
    folder = tmp_path_factory.mktemp("plugins")
    source = shutil.copytree(ROOT / "tests" / "plugin_package", folder / "source")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
    subprocess.run([*install, "--target", folder / "site", source], check=True, capture_output=True, text=True)
    return folder / "site"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a composite of the type that the plugin has."""
    node = tmp_path / "composites" / "wordy" / "node.json"
    node.parent.mkdir(parents=True)
    node.write_text(json.dumps({"type": "longest", "members": ["expert_0_edges", "expert_1_degree"]}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def h_swarm(programs, site, place):
    """Runs `h-swarm` in a process that finds the package."""

    def run(*words):
        path = f"import sys; sys.path.append({str(site)!r})"  # what PYTHONPATH would do
        main = "from swarm.programs.command import main; sys.exit(main())"
        return programs.python("-c", f"{path}; {main}", *words, cwd=place)

    return run


def test_an_installed_package_adds_to_every_group(h_swarm, place):
    """Found by its entry points, and used from the command line although one of them is broken."""
    words = ("-e", "shouting", "-d", "calls", "--composites", "composites", "--tracker", "lines")
    done = h_swarm("search", *words, *SMALL)
    assert done.returncode == 0, done.stderr
    run = place / "search" / "mine"
    origin, result = (json.loads((run / name).read_text()) for name in ("origin.json", "result.json"))
    assert (origin["eval_code"], origin["dataset_name"]) == ("shouting 1.2", "calls")
    assert origin["expert_names"][-1] == "wordy"
    assert -1 <= result["scores"]["found"]["test"]["strict"]["mean"] <= 1
    tracked = [json.loads(line) for line in (run / "tracked.jsonl").read_text().splitlines()]
    assert "graph_g" in tracked[0] and tracked[-1]["test_best"] == result["scores"]["found"]["test"]["strict"]["mean"]
    assert h_swarm("evaluate", "search/mine").returncode == 0, "what it was found with is found again"
    ranked = h_swarm("route", "rank", "-e", "exact_match", "-d", "calls", "-i", EXPERTS, "--metrics", "capitals")
    assert ranked.returncode == 0 and "capitals" in ranked.stdout, ranked.stderr


def test_an_installed_optimizer_searches(h_swarm, place):
    words = ("-e", "exact_match", "-d", "calls", "-i", EXPERTS, "--optimizer", "climber", "--max_calls", 300)
    done = h_swarm("search", *words, "-n", "mine", "--max_new_tokens", 3, "--no-cache")
    assert done.returncode == 0, done.stderr
    run = place / "search" / "mine"
    assert json.loads((run / "origin.json").read_text())["optimizer_code"] == "shouting 1.2"
    result = json.loads((run / "result.json").read_text())
    assert result["candidates"]["optimizer"] == "climber" and result["candidates"]["tried"] > 6
    refused = h_swarm("search", "--resume", "search/mine", "--optimizer", "random")
    assert refused.returncode == 2 and "--optimizer cannot change when a run is resumed" in refused.stderr
    unknown = h_swarm("search", *words[:6], "--optimizer", "climbers")
    assert unknown.returncode == 2 and "--optimizer is 'climbers'; wanted one of: evolution, swarm" in unknown.stderr


def test_what_there_is_is_listed_with_what_is_broken(h_swarm):
    done = h_swarm("plugins", "--json")
    assert done.returncode == 0, done.stderr
    found = {group: {each["name"]: each for each in listed} for group, listed in json.loads(done.stdout).items()}
    assert found["engines"] == {}
    for group, own, name in (("evals", "exact_match", "shouting"), ("members", "vote", "longest"),
                             ("metrics", "bleu", "capitals"), ("trackers", "wandb", "lines"),
                             ("optimizers", "evolution", "climber"),
                             ("datasets", "graph_tasks_small", "calls")):  # fmt: skip
        assert found[group][own] == {"name": own, "source": "built in", "broken": None}
        assert found[group][name] == {"name": name, "source": "shouting 1.2", "broken": None}
    reason = "cannot be imported (ModuleNotFoundError: No module named 'a_library_that_is_not_there'); mend"
    assert reason in found["evals"]["whispering"]["broken"]
    lines = h_swarm("plugins").stdout.splitlines()
    assert "engines (cannot be plugins in this version)" in lines and "  shouting             shouting 1.2" in lines
    broken = h_swarm("search", "-e", "whispering", "-d", "calls", *SMALL)
    assert broken.returncode == 2 and broken.stderr.count("\n") == 1
    assert f"error: eval 'whispering' of shouting 1.2 {reason}" in broken.stderr


def test_files_are_run_first_and_their_members_reach_other_processes(programs, place):
    """What two processes find is what one finds."""
    Path("mine.py").write_text(FILE)
    words = ("-e", "digits", "-d", "calls", "--composites", "composites", "--tracker", "lines", "--plugin", "mine.py")
    results = []
    for folder, more in (("one", ()), ("two", ("--workers", 2))):
        shutil.copytree("composites", f"{folder}/composites")
        shutil.copy("mine.py", folder)
        code, out, err = programs.run("search", *words, *SMALL, *more, cwd=place / folder)
        assert (code, err) == (0, ""), out + err
        run = place / folder / "search" / "mine"
        results.append(json.loads((run / "result.json").read_text()))
        assert (run / "tracked.jsonl").is_file() and ("2 workers" in out) == bool(more)
    assert results[0]["scores"] == results[1]["scores"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.py": "raise RuntimeError('no\\nway')"}, "error: plugin file .*a.py cannot be run, line 1: RuntimeE"),
        ({"a.py": FILE, "b.py": FILE}, "error: member 'longest' is there 2 times, from .*a.py, .* and from .*b"),
        ({"a.py": FILE.replace('"digits"', '"exact_match"')}, "error: eval 'exact_match' is there 2 times, from this"),
        ({"a.py": "x = 1"}, "error: plugin file .*a.py registers nothing"),
    ],
)
def test_a_file_that_will_not_do_is_refused_before_anything_is_written(place, capsys, files, message):
    for name, code in files.items():
        Path(name).write_text(code)
    there = sorted(place.rglob("*"))
    words = ["-e", "exact_match", "-d", "graph_tasks_small", "--plugin", ",".join(files), *map(str, SMALL)]
    assert front_doors.guarded(lambda: search_program(words)) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert re.match(message, shown.err), shown.err
    assert sorted(place.rglob("*")) == there


def test_names_that_are_there_twice_are_bad_input_for_the_list_too(place, capsys):
    Path("mine.py").write_text(FILE.replace('"digits"', '"exact_match"'))
    assert front_doors.guarded(lambda: plugins_program(["--plugin", "mine.py"])) == 2
    assert "eval 'exact_match' is there 2 times, from this program and from " in capsys.readouterr().err
    Path("mine.py").write_text(FILE)
    assert front_doors.guarded(lambda: plugins_program(["--plugin", "mine.py"])) == 0
    assert "  digits               " in capsys.readouterr().out
