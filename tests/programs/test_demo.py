"""h-swarm demo: nlgraph.sh's search on the embedded experts."""

import os
import shutil
import subprocess

import pytest
from repository import ROOT
from run_stories import story

from swarm.data.embedded import embedded_experts, embedded_questions
from swarm.data.load import load_dataset
from swarm.errors import UserError
from swarm.programs.demo import OF_SWARM, demo_arguments, demo_program
from swarm.programs.front_doors import expert_directory

TINY = "-m 1 --graph_num 2 --trial_num 2 --dev_limit 12 --test_limit 12".split()
DEMO = "import sys; from swarm.programs.demo import demo_program; sys.exit(demo_program(sys.argv[1:]))"


def asked_by_nlgraph(folder, *words):
    """The arguments with which nlgraph.sh starts search.py on the embedded experts."""
    for path, text in (("scripts/environment.sh", ""), (".venv/bin/python", '#!/bin/sh\nprintf "ran %s\\n" "$*"\n')):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(text)
        (folder / path).chmod(0o755)
    shutil.copy(ROOT / "nlgraph.sh", folder)
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "CONDA_PREFIX")}
    done = subprocess.run(
        ["bash", "nlgraph.sh", "--embedded", *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ran search.py ")]
    return line.removeprefix("ran search.py ").split()


def test_it_asks_for_what_nlgraph_asks_for(tmp_path):
    def settings(words):
        return {name: value for name, value in zip(words[::2], words[1::2], strict=True) if name != "-i"}

    assert settings(demo_arguments()) == settings(asked_by_nlgraph(tmp_path / "plain"))
    swarm = [*demo_arguments(), *OF_SWARM.split(), "--optimizer", "swarm"]
    assert settings(swarm) == settings(asked_by_nlgraph(tmp_path / "swarm", "--optimizer", "swarm"))


def test_it_gives_nlgraph_s_numbers(tmp_path, programs):
    words = asked_by_nlgraph(tmp_path / "clone", *TINY)
    (tmp_path / "clone" / "data").symlink_to(ROOT / "data")
    code, out, err = programs.run("search", *words, cwd=tmp_path / "clone")
    assert code == 0, err
    (tmp_path / "elsewhere").mkdir()
    done = programs.python("-c", DEMO, *TINY, cwd=tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr
    [theirs], [ours] = ((tmp_path / name / "search").iterdir() for name in ("clone", "elsewhere"))
    assert story(ours) == story(theirs)
    assert f"  h-swarm evaluate search/{ours.name}\n" in done.stdout
    assert "next:" not in out


def test_it_says_nothing_of_a_run_that_it_did_not_make(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert demo_program(["--dry-run"]) == 0
    assert "next:" not in capsys.readouterr().out and not (tmp_path / "search").exists()
    with pytest.raises(UserError, match="h-swarm search --resume RUN"):
        demo_program(["--resume", "search/x"])
    with pytest.raises(SystemExit) as ended:
        demo_program(["--help"])
    assert ended.value.code == 0 and "--seed 0" in capsys.readouterr().out


def test_experts_and_questions_are_ours_unless_the_current_folder_has_some(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours = ROOT / "data/embedded/experts"
    assert embedded_experts() == ours == expert_directory(None)[0]
    assert embedded_questions() == ROOT / "data/eval/graph_tasks_small.json"
    (tmp_path / "data/embedded/experts").mkdir(parents=True)
    assert embedded_experts() == ours, "an empty folder has none"
    shutil.copytree(ours / "expert_0_edges", tmp_path / "data/embedded/experts/own")
    assert str(embedded_experts()) == "data/embedded/experts"


def test_the_questions_go_by_their_name_everywhere(tmp_path, monkeypatch):
    """Unless the data directory has some of that name."""
    monkeypatch.chdir(tmp_path)
    ours = load_dataset(str(ROOT / "data/eval/graph_tasks_small.json"))
    assert load_dataset("graph_tasks_small").digest == ours.digest
    assert load_dataset("graph_tasks_small", tmp_path).digest == ours.digest
    (tmp_path / "graph_tasks_small.json").write_text('{"dev": [{"question": "a", "answer": "b"}], "test": []}')
    with pytest.raises(UserError, match=r"graph_tasks_small\.json"):
        load_dataset("graph_tasks_small", tmp_path)
    with pytest.raises(UserError, match="no dataset"):
        load_dataset("graph_tasks", tmp_path)
