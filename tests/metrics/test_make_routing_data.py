"""The small data set of stored answers: made again to the byte, in the format, and with something to learn."""

from functools import partial

import numpy as np
import pytest
from repository import ROOT

from swarm.metrics.gpt_rank import compared, gpt_rank
from swarm.metrics.mixinstruct import read_mix_instruct
from swarm.metrics.score_matrix import score_answers
from swarm.metrics.table import get_metric

FOLDER = ROOT / "data" / "routing"


@pytest.fixture
def make(programs):
    return partial(programs.python, "scripts/make_routing_data.py", cwd=ROOT)


def test_the_committed_files_are_what_the_command_makes(make, tmp_path):
    done = make("--out", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    for name in ("validation.jsonl", "test.jsonl"):
        assert (tmp_path / "new" / name).read_bytes() == (FOLDER / name).read_bytes()
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 600_000


def test_seeds_differ_and_nonsense_is_refused(make, tmp_path):
    assert make("--seed", 1, "--out", tmp_path / "one").returncode == 0
    assert (tmp_path / "one" / "test.jsonl").read_text() != (FOLDER / "test.jsonl").read_text()
    refused = make("--val", 0, "--out", tmp_path / "none")
    assert refused.returncode == 2 and "got --val 0" in refused.stderr and not (tmp_path / "none").exists()


def test_it_is_in_the_format():
    val, test = (read_mix_instruct(FOLDER / name) for name in ("validation.jsonl", "test.jsonl"))
    assert (val.split, test.split, len(val), len(test)) == ("val", "test", 200, 100)
    assert val.names == test.names and len(val.names) == 4 and val.metrics == test.metrics
    assert not set(val.prompts) & set(test.prompts) and len(set(val.prompts)) == 200
    assert not compared(val.comparisons()).any() and 85 <= compared(test.comparisons()).sum() < 100
    for metric in ("bleu", "rougeL"):
        stored = test.stored(metric)
        again = score_answers(test.prompts, test.names, test.texts, test.references, get_metric(metric))
        np.testing.assert_allclose(stored.scores, again.scores, atol=1e-4)


@pytest.mark.parametrize("metric", ["rougeL", "bertscore", "bartscore"])
def test_there_is_something_to_learn(metric):
    scores = read_mix_instruct(FOLDER / "validation.jsonl").stored(metric)
    spread = scores.scores.std()
    assert scores.scores.max(axis=1).mean() > scores.scores[:, scores.best_single()].mean() + spread / 2


def test_its_judge_and_its_metrics_do_not_agree_on_the_best():
    test = read_mix_instruct(FOLDER / "test.jsonl")
    assert test.names[int(gpt_rank(test.comparisons()).argmin())] == "chatter"
    assert test.names[test.stored("bleu").best_single()] != "chatter"
