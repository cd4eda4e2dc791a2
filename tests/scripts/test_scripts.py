"""The scripts that measure, on a small budget."""

import json
from functools import partial

import pytest
from repository import ROOT


@pytest.fixture
def run(programs):
    return partial(programs.python, cwd=ROOT)


def test_the_table_of_the_embedded_experts(run, tmp_path):
    small = ("graph_num=2", "trial_num=2", "max_iteration=1", 'starting_velocity_mode="zero"')
    command = ["scripts/embedded_table.py", "--seeds", "2", "--dev", "12", "--test", "12"]
    done = run(*command, "--set", *small, "--out", tmp_path / "table.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("|\n") == 2 + 13 + 7
    [seeds] = json.loads((tmp_path / "table.json").read_text())["results"].values()
    assert [seed["evaluations"] for seed in seeds] == [8, 8]
    assert all(0 <= value <= 1 for seed in seeds for name, value in seed.items() if name != "evaluations")
    command = ["scripts/embedded_table.py", "--read", tmp_path / "table.json"]
    assert run(*command).stdout == done.stdout
    some = run(*command, "--rows", "router", "ballot", "found")
    lines = done.stdout.splitlines()
    assert [line for line in some.stdout.splitlines() if line not in lines] == [], "the same, and fewer"
    assert some.stdout.count("|\n") == 2 + 3 + 1


def test_the_table_of_routers(run, tmp_path):
    command = ["scripts/router_oracles.py", "--seeds", "2", "--dev", "30", "--test", "60"]
    done = run(*command, "--routers", "tfidf knn", "--out", tmp_path / "table.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("|\n") == 2 + 4
    [seeds] = json.loads((tmp_path / "table.json").read_text()).values()
    for seed in seeds:
        assert seed["single"] < seed["tfidf knn"] <= seed["perfect"] and seed["skill"] <= seed["perfect"]
    assert seeds[0] != seeds[1], "every seed has its own questions"
    assert run("scripts/router_oracles.py", "--read", tmp_path / "table.json").stdout == done.stdout


def test_what_a_router_brings_to_a_search(run, tmp_path):
    command = ["scripts/router_table.py", "--seeds", "1", "--dev", "24", "--test", "12"]
    command += ["--set", "graph_num=2", "trial_num=4", "max_iteration=2", 'starting_velocity_mode="zero"']
    done = run(*command, "--out", tmp_path / "table.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("|\n") == 2 + 5 + 4
    [seed] = json.loads((tmp_path / "table.json").read_text())["results"]
    assert all(0 <= seed[row] <= 1 for row in ("single", "alone", "without", "with", "refreshed"))
    assert seed["alone"] > seed["single"]
