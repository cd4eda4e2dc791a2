"""scripts/route.py in this process: the data that it needs, and what it prints."""

import json
import shutil

from repository import ROOT

from swarm.programs.route.route import route_program

DATA = ROOT / "data"


def bring_data(folder):
    """The data that git brings, in this folder."""
    for part in ("embedded", "routing"):
        shutil.copytree(DATA / part, folder / "data" / part)
    (folder / "data" / "eval").mkdir()
    shutil.copy(DATA / "eval" / "graph_tasks_small.json", folder / "data" / "eval")
    return folder


def said(capsys, *words):
    """What the program prints."""
    capsys.readouterr()
    assert route_program([str(word) for word in words]) == 0
    return capsys.readouterr().out


def record(capsys, *words):
    """Its one JSON object."""
    return json.loads(said(capsys, *words, "--json").splitlines()[-1])


def of(result, who):
    """The line of one way to answer."""
    return next(line for line in result["lines"] if line["who"] == who)
