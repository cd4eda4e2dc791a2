"""nlgraph.sh: which experts, questions and environment it takes, and how often it searches."""

import re
import shutil
import subprocess
import venv
from pathlib import Path

import pytest
from installing import copied_tree, executable, needed, shell

from swarm.evolution.config import settings
from swarm.evolution.names import ONLY_SWARM


@pytest.fixture
def front_door(tmp_path: Path) -> Path:
    """A tree in which nlgraph.sh starts a stand-in that prints its arguments and ends as $CODE says."""
    tree = copied_tree(tmp_path)
    executable(tree / "scripts" / "environment.sh", "exit 0\n")
    executable(tree / ".venv" / "bin" / "python", '#!/bin/sh\necho "ran $*"\nexit ${CODE:-0}\n')
    (tree / "data" / "eval").mkdir(parents=True)
    return tree


def runs(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The commands that nlgraph.sh started."""
    return [line.removeprefix("ran ") for line in done.stdout.splitlines() if line.startswith("ran ")]


def test_nlgraph_takes_the_published_experts_if_there_are_any(front_door: Path) -> None:
    swarm = ("--optimizer", "swarm")
    (small,) = runs(shell(front_door, "nlgraph.sh", *swarm))
    assert "-d graph_tasks_small -i data/embedded/experts" in small and "--max_iteration 10" in small
    assert "initial_experts.py" in shell(front_door, "nlgraph.sh").stdout  # how to get the others
    (front_door / "initial_experts" / "cot").mkdir(parents=True)
    (front_door / "initial_experts" / "cot" / "adapter_config.json").write_text("{}")
    made, large = runs(shell(front_door, "nlgraph.sh", *swarm))
    assert made == "scripts/make_graph_data.py --style large --out data/eval/graph_tasks.json"
    assert "-d graph_tasks -i initial_experts" in large and "--max_iteration 20" in large
    assert "-i data/embedded/experts" in runs(shell(front_door, "nlgraph.sh", "--embedded"))[0]
    (front_door / "data" / "eval" / "nlgraph.json").write_text("{}")
    assert "-d nlgraph -i initial_experts" in runs(shell(front_door, "nlgraph.sh"))[0]
    (own,) = runs(shell(front_door, "nlgraph.sh", "-i", "mine", "--dataset=x", "-g", "1"))
    assert own.endswith("--seed 0 -i mine --dataset=x -g 1") and own.count("-i ") == 1 and "-d " not in own


def test_nlgraph_gives_the_swarms_settings_to_the_swarm(front_door: Path) -> None:
    (plain,) = runs(shell(front_door, "nlgraph.sh"))
    assert plain == "search.py -e exact_match -d graph_tasks_small -i data/embedded/experts --seed 0"
    for words in (["--optimiser=swarm"], ["-m2"], ["-p", "3"], ["--step-length=.2"], ["--dropK", ".1"]):
        (own,) = runs(shell(front_door, "nlgraph.sh", *words))
        assert "--graph_num 8" in own and own.endswith(" ".join(words)), words
    for words in (
        ["--optimizer", "random"],
        ["--max_calls", "99"],
        ["--optimizer", "evolution", "--max_iteration", "2"],
    ):
        assert "--graph_num" not in runs(shell(front_door, "nlgraph.sh", *words))[0], words
    listed = re.findall(r'^swarm_only\+?="\|?(.*)"$', (front_door / "nlgraph.sh").read_text(), re.MULTILINE)
    of_the_swarm = {name for name, setting in settings().items() if setting.optimizers == ONLY_SWARM}
    assert {name for line in listed for name in line.split("|")} == of_the_swarm | {"compat"}


def test_nlgraph_repeats_until_something_is_wrong(front_door: Path) -> None:
    three = runs(shell(front_door, "nlgraph.sh", "--trials", "3", "--seed=4"))
    assert [re.search(r"--seed (\d+)", line)[1] for line in three] == ["4", "5", "6"]  # type: ignore[index]
    assert len(runs(shell(front_door, "nlgraph.sh", "--trials", "2", CODE="3"))) == 2  # a limit is no fault
    for code in ("2", "130"):
        done = shell(front_door, "nlgraph.sh", "--sweep", CODE=code)
        assert done.returncode == int(code) and len(runs(done)) == 1
    drawn = runs(shell(front_door, "nlgraph.sh", "--sweep", "--trials", "20"))
    assert len({re.sub(r"--seed \d+", "", line) for line in drawn}) > 10
    for words, said in (
        (["--trials", "0"], "--trials is 0"),
        (["--trials", "2", "-n", "a"], "-n names one run"),
        (["--embedded", "-i", "x"], "wanted one"),
        (["--seed"], "--seed is ''"),
    ):
        done = shell(front_door, "nlgraph.sh", *words)
        assert done.returncode == 2 and said in done.stderr and not runs(done)


@pytest.fixture
def active(front_door: Path) -> Path:
    """An environment that looks as if all dependencies were there at the lowest versions, and swarm were not."""
    made = front_door / "active"
    venv.create(made, with_pip=False)
    (packages,) = made.glob("lib/python*/site-packages")
    for requirement in needed("report"):
        about = packages / f"{requirement.name}-1.dist-info"
        about.mkdir()
        lowest = next(iter(requirement.specifier)).version
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {requirement.name}\nVersion: {lowest}\n")
    (front_door / "search.py").write_text("import sys\nprint('ran', sys.prefix, *sys.argv)\n")
    executable(front_door / "scripts" / "environment.sh", "touch asked_for_venv\n")
    return made


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_nlgraph_takes_an_active_environment_that_has_what_it_needs(
    front_door: Path, active: Path, variable: str
) -> None:
    done = shell(front_door, "nlgraph.sh", **{variable: str(active)})
    assert done.returncode == 0, done.stderr
    assert runs(done)[0].startswith(f"{active} search.py -e exact_match")
    assert done.stdout.startswith(f"nlgraph: environment: {active}, which is active and has what is needed\n")
    assert not (front_door / "asked_for_venv").exists()


def test_nlgraph_says_why_an_active_environment_does_not_do(front_door: Path, active: Path) -> None:
    (packages,) = active.glob("lib/python*/site-packages")

    def said(**environment: str) -> str:
        """The first line, if .venv was made or brought up to date, and used."""
        (front_door / "asked_for_venv").unlink(missing_ok=True)
        done = shell(front_door, "nlgraph.sh", VIRTUAL_ENV=str(active), **environment)
        assert (front_door / "asked_for_venv").exists() and runs(done)[0].startswith("search.py "), done.stdout
        return done.stdout.splitlines()[0]

    lacks = f"nlgraph: environment: .venv, since the active one, {active}, lacks"
    (packages / "swarm.py").write_text("")
    assert said() == f"{lacks} h-swarm from this clone (has {packages})"
    (packages / "swarm.py").unlink()
    shutil.rmtree(packages / "peft-1.dist-info")
    about = packages / "torch-1.dist-info" / "METADATA"
    about.write_text(about.read_text().replace("Version: 2.6", "Version: 2.5.1+cu124"))
    assert said() == f"{lacks} torch>=2.6 (has 2.5.1+cu124), peft"
    assert said(H_SWARM_TORCH="cpu").startswith("nlgraph: experts:"), "what .venv is to be made with"
    (active / "bin" / "python").unlink()
    assert said() == f"{lacks} a Python that works"
    shutil.rmtree(active)
    assert said() == f"{lacks} a Python that works"


def test_nlgraph_does_not_look_at_its_own_environment(front_door: Path) -> None:
    done = shell(front_door, "nlgraph.sh", VIRTUAL_ENV=str(front_door / ".venv"))
    assert done.stdout.startswith("nlgraph: experts:") and runs(done)
