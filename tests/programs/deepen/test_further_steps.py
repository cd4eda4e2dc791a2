"""Scores known by hand, sweeps that go on, pictures, and the scripts of the later program."""

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from deepen_world import CHOICES, deepen, write_records, write_world
from repository import ROOT

from swarm.programs.deepen import sweep
from swarm.programs.deepen.deepen_figures import principal_plane


def result(question, answer, generated, prompt="Answer:"):
    return {
        "answer": answer,
        "prediction": generated.strip(),
        "main_model_input": prompt,
        "all": prompt + generated,
        "model_answer": [generated],
        "question": question,
    }


NAME = "ensemble_lr0.15_learning_epochs_nums5.jsonl"


def test_scores_known_by_hand(tmp_path, capsys):
    facts = [result("a", ["Rome"], " Rome"), result("b", ["Oslo", "Bergen"], " bergen."), result("c", ["x"], "no")]
    write_records(tmp_path / "nq" / NAME, [*facts, result("c", ["y"], "y")])
    sums = [result("p", "so the answer is 18", " it is 18.0"), result("q", "the answer is 7", " -7", "7 and")]
    write_records(tmp_path / "gsm8k" / "deep" / NAME, sums)
    letters = [{**result("w", "A", ""), "A": "x", "B": "y"}, {**result("v", "B", " B"), "A": "x", "B": "y"}]
    write_records(tmp_path / "arc_c" / NAME, letters)
    assert deepen("eval", tmp_path, "--json") == 0
    found = {one["task"]: one for one in json.loads(capsys.readouterr().out)}
    means = {task: (one["published"]["mean"], one["strict"]["mean"]) for task, one in found.items()}
    assert means == {"nq": (1.0, 0.75), "gsm8k": (0.5, 0.5), "arc_c": (1.0, 0.5)}
    assert found["nq"]["published"]["size"] == 3 and found["nq"]["strict"]["size"] == 4
    assert found["arc_c"]["fork"]["mean"] == 0.5 and found["nq"]["fork"] is None
    assert 0 < found["nq"]["strict"]["low"] < 0.75 < found["nq"]["strict"]["high"]
    assert deepen("eval", tmp_path) == 0
    said = capsys.readouterr().out
    assert "0.750 [0.301, 0.954] n=4" in said and "the published metric of gsm8k: the sign is ignored" in said


def test_what_cannot_be_scored_is_said(tmp_path, capsys):
    def refused(said, *words):
        assert deepen("eval", *words) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1

    path = write_records(tmp_path / "some" / NAME, [result("a", ["b"], "c")])
    refused("does not say which task it is of; name one of nq,", path)
    refused("--task is 'squad'; wanted one of nq, triviaqa", path, "--task", "squad")
    refused("holds no result file", tmp_path / "nowhere")
    refused("line 1 is [1]", write_records(tmp_path / "nq" / NAME, [[1], [1]]), "--task", "nq")
    refused(
        "record 0 has no prediction", write_records(tmp_path / NAME, [{"question": "", "answer": ""}]), "--task", "nq"
    )


def test_a_sweep_of_two_by_two_goes_on(tmp_path, models, capsys):
    conf = write_world(tmp_path, models)
    table = tmp_path / "out" / "sweep.jsonl"
    words = ("--limit", "2", "--out", table.parent, "--batch", "2")
    assert deepen("sweep", "--config", conf, "-lr", "0.5", "-len", "1", "5", "--model_counts", "1", "2", *words) == 0
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    assert [(row["models"], row["updates"]) for row in rows] == [(1, 1), (1, 5), (2, 1), (2, 5)]
    assert all(0 < row["tokens"] <= 16 and row["seconds_per_token"] > 0 and row["questions"] == 2 for row in rows)
    assert [row["fused"] > 8 for row in rows] == [False, False, True, True]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))
    capsys.readouterr()
    more = ("-lr", "0.5", "-len", "1", "5", "--model_counts", "2", "1", "--anchor_counts", "50", "all")
    assert deepen("sweep", "--config", conf, *more, *words) == 0
    assert capsys.readouterr().out.count("ms per token") == 8 - 3, "what is in the table is not worked out again"
    again = [json.loads(line) for line in table.read_text().splitlines()]
    assert again[:3] == rows[:3] and len(again) == 8
    pictures = sorted(path.name for path in table.parent.glob("*.png"))
    assert pictures == ["sweep_anchors.png", "sweep_models.png", "sweep_updates.png"]
    assert deepen("sweep", "--config", conf, "-lr", "0.5", *words[2:], "--limit", "3") == 2
    assert "questions 2, asked for 3; name another folder with --out" in capsys.readouterr().err
    with open(table.parent / "lock") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert deepen("sweep", "--config", conf, "-lr", "0.5", *words) == 2
        assert "is in use by another process" in capsys.readouterr().err
    table.write_text("{")
    assert deepen("sweep", "--config", conf, "-lr", "0.5", *words) == 2
    assert "is not the table of a sweep" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["lock", "sweep.jsonl", "sweep.json", "sweep_models.png"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_file_in_a_sweep_s_folder_is_refused_before_models_are_loaded(
    tmp_path, conf, capsys, monkeypatch, name, kind
):
    mine, path = tmp_path / "mine", tmp_path / "out" / name
    path.parent.mkdir()
    mine.write_text("{}")
    path.symlink_to(mine) if kind == "link" else os.mkfifo(path)
    monkeypatch.setattr(sweep, "load_fusion_models", lambda *_: pytest.fail("a model is loaded"))
    assert deepen("sweep", "--config", conf, "-lr", "0.5", "--limit", "1", "--out", path.parent) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{path} is " in error and mine.read_text() == "{}"


def test_the_plane_keeps_distances_of_points_in_a_plane():
    flat = np.random.default_rng(0).normal(size=(7, 2))
    points = flat @ np.random.default_rng(1).normal(size=(2, 30))
    found = principal_plane(points)

    def distances(some):
        return np.linalg.norm(some[:, None] - some[None], axis=-1)

    assert np.allclose(distances(found), distances(points))
    assert principal_plane(np.ones((2, 1))).tolist() == [[0, 0], [0, 0]]


def test_a_picture(tmp_path, models, capsys):
    out = tmp_path / "deep" / "picture.png"
    words = ("picture", "--models", models / "one", models / "two", "--tokens", " the", " cat", ",")
    assert deepen(*words, "--out", out) == 0 and out.read_bytes().startswith(b"\x89PNG")
    assert f"picture: {out}" in capsys.readouterr().out
    assert deepen(*words, "--out", tmp_path / "bare") == 0 and (tmp_path / "bare.png").is_file()
    assert f"picture: {tmp_path / 'bare.png'}" in capsys.readouterr().out
    assert deepen(*words, "--out", out, "--rows", "--centre", "--anchors", "consistency", "--anchor_count", "40") == 0
    assert deepen(*words, " zebra", "--out", out) == 2
    assert "one has no token ' zebra'" in capsys.readouterr().err
    assert deepen(*words[:4], "--tokens", " the", "--out", out) == 2
    out.rename(tmp_path / "mine.png")
    out.symlink_to(tmp_path / "mine.png")
    before, _ = out.read_bytes(), capsys.readouterr()
    assert deepen(*words[:5], " cat", " the", "--out", out) == 2 and out.read_bytes() == before
    assert f"{out} is a symbolic link; wanted an ordinary file" in capsys.readouterr().err


@pytest.fixture
def tree(tmp_path):
    """The scripts beside a Python that writes down how it is called."""
    shutil.copytree(ROOT / "sh", tmp_path / "tree" / "sh")
    python = tmp_path / "tree" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/usr/bin/env bash\nprintf "%s\\0" "$@" >>calls\nprintf "\\n" >>calls\n')
    python.chmod(0o755)
    return tmp_path / "tree"


def test_the_later_programs_scripts(tmp_path, models, tree, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def bash(script, *words):
        Path("calls").unlink(missing_ok=True)
        done = subprocess.run(["bash", tree / "sh" / script, *words], capture_output=True, text=True)
        calls = Path("calls").read_text().splitlines() if Path("calls").exists() else []
        return done, [call.split("\0")[:-1] for call in calls]

    def ran(script, *words):
        done, calls = bash(script, *words)
        assert done.returncode == 0 and all(call[0] == f"{tree}/scripts/deepen.py" for call in calls), done.stderr
        for call in calls:
            assert deepen(*call[1:]) == 0
        return capsys.readouterr().out

    conf = write_world(tmp_path, models, records=CHOICES, demos=CHOICES[:1])
    ran("mat.sh", "matrices", models / "one", f"{models / 'two'}/")
    said = ran("run.sh", conf, "vanilla", "tas2")
    assert said.count(f"artefact: {tmp_path}/matrices/one_two/one_two\n") == 2, "what mat.sh made is found"
    assert all(Path("res", "nq", "test", "one_two", mode, NAME).is_file() for mode in ("vanilla", "tas2"))
    assert ran("eval.sh").count("n=3") == 4
    assert [call[call.index("-em") + 1] for call in bash("run.sh", conf)[1]] == ["vanilla", "tas", "tas2", "tas2+mas2"]
    for script, words in (("mat.sh", ["a folder", "only"]), ("run.sh", [])):
        done, calls = bash(script, *words)
        assert (done.returncode, done.stderr.count("\n"), calls) == (2, 1, [])
