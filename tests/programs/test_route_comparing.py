"""scripts/route.py with answers that are compared: labels by a ranker or a judge, and lines of blends."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from judge_server import JudgeServer, judging
from route_runs import bring_data, of, record
from scorers import make_bert, make_classifier, make_fuser

from swarm.errors import BudgetReached, UserError
from swarm.members.blending.pair_models import load_pair_model
from swarm.members.blending.pairwise import best_first, pairwise_scores
from swarm.metrics.mixinstruct import read_mix_instruct
from swarm.metrics.score_matrix import load_scores
from swarm.programs.blends import FUSED, RANKED
from swarm.programs.route.route import route_program

TASK = ("-e", "exact_match", "-d", "graph_tasks_small")
STORED = ("data/routing/validation.jsonl", "data/routing/test.jsonl")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder with the data that git brings, a ranker and a fuser."""
    folder = tmp_path_factory.mktemp("clone")
    bring_data(folder)
    make_classifier(folder / "ranker", window=64, extra=[str(number) for number in range(30)])
    make_fuser(folder / "fuser")
    make_bert(folder / "bert")
    return folder


@pytest.fixture
def here(clone, monkeypatch):
    monkeypatch.chdir(clone)
    return clone


def members():
    return sorted(path.name for path in Path("data/embedded/experts").iterdir() if path.is_dir())[:3]


def fit(out, *words, dev=24):
    return route_program(["fit", *TASK, "--out", str(out), "--dev_limit", str(dev), "--members", *members(), *words])


def test_labels_by_a_ranker(here, tmp_path, capsys):
    assert fit(tmp_path / "mine", "--metric", "pairwise", "--ranker", "ranker") == 0
    kept = load_scores(tmp_path / "mine" / "scores")
    model = load_pair_model("ranker")
    assert kept.metric == "pairwise" and dict(kept.settings) == model.settings() | {"mode": "all", "orders": "both"}
    assert kept.scores == pytest.approx(pairwise_scores(model, kept.prompts, kept.texts))
    limited = (*TASK, "--test_limit", 20)
    result = record(capsys, "eval", tmp_path / "mine", *limited, "--ranker", "ranker", "--fuser", "fuser")
    assert result["metric"] == "pairwise"
    assert of(result, RANKED)["quality"] == of(result, "perfect choice")["quality"], "it is what makes the scores"
    assert of(result, RANKED)["asked"] == 3 and FUSED not in [line["who"] for line in result["lines"]]
    text = record(capsys, "ask", tmp_path / "mine", "degree of C in C-D", "--only")
    assert text["member"] in kept.names


def test_several_metrics_beside_each_other(here, tmp_path, capsys):
    words = ("rank", *TASK, "--members", *members(), "--dev_limit", 24, "--ranker", "ranker")
    audit = record(capsys, *words, "--metrics", "pairwise", "exact", "--out", tmp_path / "scores")
    assert list(audit["metrics"]) == ["exact_match (strict)", "pairwise", "exact"] and audit["complete"] == 24
    kept = {name: load_scores(tmp_path / "scores" / name) for name in ("eval", "pairwise", "exact")}
    assert {matrix.texts for matrix in kept.values()} == {kept["eval"].texts} and kept["eval"].split == "dev"
    assert audit["settings"]["pairwise"] == kept["pairwise"].settings
    capsys.readouterr()
    assert route_program([str(word) for word in (*words[:-2], "--metrics", "rougeL")]) == 0
    assert "oracle rougeL" in capsys.readouterr().out
    with pytest.raises(UserError, match="is there; name a folder that is new"):
        route_program([*map(str, words), "--out", str(tmp_path)])


def test_labels_by_a_metric_that_judges_as_an_eval_does(here, tmp_path, capsys):
    """The metric exact is no eval: a router of its labels is scored by it, whatever eval the questions are put by."""
    assert fit(tmp_path / "mine", "--metric", "exact") == 0
    words = ("eval", tmp_path / "mine", *TASK, "--test_limit", 20)
    assert record(capsys, *words)["metric"] == load_scores(tmp_path / "mine" / "scores").metric == "exact"


def test_metrics_with_options_have_plain_folders(here, tmp_path, capsys):
    words = ("rank", *TASK, "--members", *members(), "--dev_limit", 12, "--out", tmp_path / "scores", "--metrics")
    record(capsys, *words, "bertscore:model=bert,layer=1", "rouge1:stemmer=false")
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == ["bertscore", "eval", "rouge1"]
    with pytest.raises(UserError, match="--metrics has rouge1 more than once"):
        route_program([*map(str, words[:-2]), "other", "--metrics", "rouge1:stemmer=false", "rouge1"])


def test_blends_beside_a_router_of_the_eval_s_labels(here, tmp_path, capsys):
    assert fit(tmp_path / "mine", "--costs", ",".join(f"{name}={i + 1}" for i, name in enumerate(members()))) == 0
    words = ("eval", tmp_path / "mine", *TASK, "--test_limit", 30, "--ranker", "ranker", "--fuser", "fuser")
    result = record(capsys, *words, "--ranking", "bubble", "--top_k", 2)
    ranked, fused = of(result, RANKED), of(result, FUSED)
    assert (ranked["asked"], fused["asked"], ranked["cost"], fused["cost"]) == (3, 3, 6, 6)
    assert 0 < ranked["quality"]["mean"] <= of(result, "perfect choice")["quality"]["mean"]
    assert fused["quality"]["mean"] == 0 and fused["regret"]["mean"] > 0
    assert RANKED not in [line["who"] for line in record(capsys, *words[:6])["lines"]]


def longer(prompt):
    """A judge who likes long answers, up to a point, and the first of two that are alike in this."""
    first, second = re.search(r"\n\nAnswer A:\n(.*)\n\nAnswer B:\n(.*)\Z", prompt, re.DOTALL).groups()
    return "A is better" if length(first) >= length(second) else "B is better"


def length(text):
    return len(text) % 30


def test_labels_by_a_judge_asked_in_both_orders(here, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with judging(JudgeServer(longer)) as server:
        judge = ("--judge_url", f"{server.url}/v1", "--judge_model", "judge-model")
        assert fit(tmp_path / "mine", "--metric", "gpt_rank", *judge) == 0
        kept = load_scores(tmp_path / "mine" / "scores")
        lengths = np.array([[length(text) for text in row] for row in kept.texts])
        # each pair counts both ways: 2 from a member that is beaten, -2 from one that beats; equal lengths cancel
        ahead = np.sign(lengths[:, :, None] - lengths[:, None, :]).sum(-1)
        assert kept.scores.tolist() == (2.0 * ahead).tolist() and kept.metric == "gpt_rank"
        assert kept.settings["judge"]["model"] == "judge-model" and kept.settings["orders"] == "both"
        asked = len(server.prompts)
        assert asked % 2 == 0 and asked == len(set(server.prompts))
        result = record(capsys, "eval", tmp_path / "mine", *TASK, "--test_limit", 10, *judge, "--ranker", "ranker")
        assert result["metric"] == "gpt_rank" and of(result, RANKED)["regret"]["mean"] >= 0
        assert fit(tmp_path / "mine", "--metric", "gpt_rank", *judge) == 0
        assert len(server.prompts) == len(set(server.prompts)), "replies are kept"


def test_replays_with_a_ranker_that_sees_all_answers(here, capsys):
    words = ("replay", *STORED, "--metric", "bertscore", "--limit", 40, "--ranker", "ranker")
    result = record(capsys, *words)
    test = read_mix_instruct(Path(STORED[1]), "test", 40)
    order = best_first(load_pair_model("ranker"), test.prompts, test.texts, top=1)
    scores = test.stored("bertscore").scores
    wanted = np.mean([row[first] for row, [first] in zip(scores, order, strict=True)])
    assert of(result, RANKED)["quality"]["mean"] == pytest.approx(wanted) and of(result, RANKED)["asked"] == 4
    assert "GPT-Rank" in of(result, RANKED)
    labels = record(capsys, "replay", *STORED, "--metric", "pairwise", "--limit", 40, "--ranker", "ranker")
    assert labels["metric"] == "pairwise"
    assert of(labels, RANKED)["quality"] == of(labels, "perfect choice by pairwise")["quality"]
    assert of(labels, RANKED)["GPT-Rank"] == of(result, RANKED)["GPT-Rank"]


def test_replays_with_gpt_rank_as_stored_or_by_a_judge(here, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lines = Path(STORED[1]).read_text().splitlines(keepends=True)
    compared = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    for path, part in zip(compared, (lines[:50], lines[50:]), strict=True):
        path.write_text("".join(part))
    assert route_program(["replay", *map(str, compared), "--metric", "gpt_rank", "--json"]) == 0
    said = capsys.readouterr()
    stored = json.loads(said.out.splitlines()[-1])
    left_out = sum(not json.loads(line).get("cmp_results") for line in lines[:50])
    assert left_out and f"{left_out} of 50 prompts of {compared[0]} have no gpt_rank score and are left out" in said.err
    assert of(stored, "perfect choice by gpt_rank")["GPT-Rank"] == 1.0
    with judging(JudgeServer(longer)) as server:
        judge = ("--judge_url", f"{server.url}/v1", "--judge_model", "judge-model")
        words = ("replay", *STORED, "--metric", "gpt_rank", "--limit", 20, *judge)
        judged = record(capsys, *words)
        calls = len(server.prompts)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
        with pytest.raises(BudgetReached, match="--max_judge_calls"):
            record(capsys, *words, "--max_judge_calls", calls - 1)
        assert len(server.prompts) == 2 * calls - 1, "one limit for both files"
    assert judged["metric"] == "gpt_rank"
    assert of(judged, "perfect choice by gpt_rank")["regret"]["mean"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("replay", *STORED, "--metric", "gpt_rank"), r"validation\.jsonl: no row has comparisons .*--judge_model"),
        (("replay", *STORED, "--metric", "pairwise"), r"--metric pairwise compares answers by a model; name one with"),
        (("replay", *STORED, "--ranker", "./nowhere"), r"pairwise ranking: base model '\./nowhere' is neither"),
        (("replay", *STORED, "--ranker", "bert"), r"pairwise ranking: bert lacks the weights classifier"),
        (("fit", *TASK, "--out", "new", "--metric", "pairwise"), r"name one with --ranker, such as llm-blender/PairRM"),
        (
            ("fit", *TASK, "--out", "new", "--ranker", "ranker"),
            r"--ranker makes no labels by itself; add --metric pair",
        ),
        (("fit", *TASK, "--out", "new", "--metric", "gpt_rank"), r"asks a judge .*name one with --judge_model"),
        (
            ("fit", *TASK, "--out", "new", "--metric", "gpt_rank", "--judge_model", "nobody/nothing"),
            r"judge model 'nobody/nothing' is no Gemini model, no local folder",
        ),
    ],
)
def test_bad_input_is_one_line(here, words, message):
    with pytest.raises(UserError, match=message) as caught:
        route_program([str(word) for word in words])
    assert "\n" not in str(caught.value) and not Path("new").exists()
