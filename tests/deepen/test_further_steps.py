"""Scores known by hand, sweeps that go on, pictures, and the scripts of the later program."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from deepen_world import CHOICES, save_models, write_records, write_world

from swarm.deepen.figures import principal_plane
from swarm.deepen.program import deepen_program
from swarm.front_doors import guarded

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return save_models(tmp_path_factory.mktemp("models"))


def deepen(*words):
    """The exit code."""
    return guarded(lambda: deepen_program([str(word) for word in words]))


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
    assert all(row["tokens"] == 16 and row["seconds_per_token"] > 0 and row["questions"] == 2 for row in rows)
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
    table.write_text("{")
    assert deepen("sweep", "--config", conf, "-lr", "0.5", *words) == 2
    assert "is not the table of a sweep" in capsys.readouterr().err


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
    assert deepen(*words, "--out", out, "--rows", "--centre", "--anchors", "consistency", "--anchor_count", "40") == 0
    assert deepen(*words, " zebra", "--out", out) == 2
    assert "one has no token ' zebra'" in capsys.readouterr().err
    assert deepen(*words[:4], "--tokens", " the", "--out", out) == 2


def bash(script, *words, cwd):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = ["bash", ROOT / "sh" / script, *words]
    return subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True)


def test_the_later_programs_scripts(tmp_path, models):
    conf = write_world(tmp_path, models, records=CHOICES, demos=CHOICES[:1])
    matrices = tmp_path / "matrices"
    made = bash("mat.sh", matrices, models / "one", models / "two", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    asked = bash("run.sh", conf, "tas2", cwd=tmp_path)
    assert asked.returncode == 0, asked.stderr
    assert f"artefact: {matrices}/one_two/one_two\n" in asked.stdout, "what mat.sh made is found"
    assert (tmp_path / "res" / "nq" / "test" / "one_two" / "tas2" / NAME).is_file()
    scored = bash("eval.sh", cwd=tmp_path)
    assert scored.returncode == 0 and scored.stdout.count("n=3") == 2, scored.stderr
    for script, words in (("mat.sh", ["only"]), ("run.sh", []), ("eval.sh", ["nowhere"])):
        done = bash(script, *words, cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, (script, done.stderr)
