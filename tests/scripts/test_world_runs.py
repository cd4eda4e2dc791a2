"""The script that runs methods on worlds, and the table of its lines."""

import json
from pathlib import Path

import numpy as np
from preloaded import Preloaded
from repository import ROOT

SMALL = ["-m", "1", "--graph_num", "2", "--trial_num", "2"]
METHODS = {
    "budget_of": "first",
    "default": "second",
    "methods": {
        "first": {"options": SMALL},
        "second": {"options": SMALL, "share": 1},
        "vote": {"baseline": "vote"},
    },
    "differences": {"noisy": [["first"], ["first", "vote"]]},
}


def test_lines_are_made_once_and_the_table_is_of_them(programs: Preloaded, tmp_path: Path) -> None:
    table, rows, out = tmp_path / "methods.json", tmp_path / "rows.jsonl", tmp_path / "table.json"
    table.write_text(json.dumps(METHODS))
    command = ["scripts/world_runs.py", "--worlds", ROOT / "data/worlds/noisy", "--seeds", "7", "--table", table]
    command += ["--rows", rows, "--work", tmp_path / "work", "--dev", "12", "--test", "20"]
    done = programs.python(*command, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    whole = rows.read_text()
    first, second, vote = map(json.loads, whole.splitlines())
    assert second["budget"] == first["calls"] > 0 and second["right"] == first["right"], (
        "the same search, as many calls"
    )
    assert vote["calls"] is None and len(vote["right"]) == 20 and vote["nodes"] == 6
    # a kill in mid-line: that line is made again, to the same numbers, and no other
    rows.write_text(whole[: whole.rindex('"right"')])
    assert programs.python(*command, cwd=ROOT).stdout.count("\n") == 1
    assert json.loads(rows.read_text().splitlines()[2])["right"] == vote["right"]
    assert programs.python(*command, cwd=ROOT).stdout == ""
    shown = programs.python("scripts/world_table.py", rows, "--table", table, "--out", out, cwd=ROOT)
    assert shown.returncode == 0, shown.stderr
    [found] = json.loads(out.read_text()).values()
    assert [row["method"] for row in found["methods"]] == ["first", "second", "vote"]
    assert found["methods"][0]["test"]["mean"] == first["right"].count("1") / 20
    gaps = [one["test"]["mean"] for one in found["differences"]]
    shares = {row["method"]: row["right"].count("1") / 20 for row in (first, second, vote)}
    assert np.allclose(gaps, [0, shares["second"] - max(shares["first"], shares["vote"])])
    assert "- second − first: +0.000 [+0.000, +0.000]" in shown.stdout


def test_a_budget_that_nothing_sets_is_named(programs: Preloaded, tmp_path: Path) -> None:
    table = tmp_path / "methods.json"
    table.write_text(json.dumps(METHODS))
    command = ["scripts/world_runs.py", "--worlds", ROOT / "data/worlds/noisy", "--table", table]
    command += ["--rows", tmp_path / "rows.jsonl", "--methods", "second"]
    done = programs.python(*command, cwd=ROOT)
    assert done.returncode == 1 and "sets the budget" in done.stderr
