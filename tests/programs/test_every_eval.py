"""One iteration of a search for each kind of eval on the embedded experts, on real files where there are any."""

import json
import os
import shutil
from pathlib import Path

import pytest
from judge_server import MODEL, JudgeServer, judging
from repository import ROOT

from swarm.programs import front_doors
from swarm.programs.search import search_program

SHARED = Path(os.environ.get("H_SWARM_SHARED", ROOT.parent / "shared")) / "data" / "eval"
SMALL = "--graph_num 2 --trial_num 2 --max_iteration 1 --dev_limit 4 --test_limit 2 --max_new_tokens 4 -n mine".split()


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A working folder with the embedded experts, and caches of its own."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    return tmp_path


def real_file(name):
    """The published file in the working folder; its contexts are cut short, for models that read letter by letter."""
    path = SHARED / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    record = json.loads(path.read_text(encoding="utf8"))
    for example in (*record["dev"], *record["test"]):
        if "context_chunks" in example:
            example["context_chunks"] = [chunk[:60] for chunk in example["context_chunks"]]
    Path(f"data/eval/{name}.json").write_text(json.dumps(record), encoding="utf8")


def searched(*words):
    """The final scores of a search that comes to its end."""
    assert front_doors.guarded(lambda: search_program([*words, *SMALL])) == 0
    assert len(Path("search/mine/metrics.jsonl").read_text().splitlines()) == 4, "the start's two steps and two more"
    return json.loads(Path("search/mine/result.json").read_text())["scores"]


@pytest.mark.parametrize(
    ("evaluation", "dataset", "lowest", "highest"),
    [
        ("exact_match", "gsm8k", 0, 1),
        ("exact_match", "nlgraph", 0, 1),
        ("exact_match", "gaia", 0, 1),
        ("multiple_choice", "knowledge_crosswords", 0, 1),
        ("abstainqa", "mmlu", -1, 1),
    ],
)
def test_one_iteration(workdir, evaluation, dataset, lowest, highest):
    real_file(dataset)
    scores = searched("-e", evaluation, "-d", dataset)
    for who in ("found", "best_single", "uniform_average"):
        for scorer in ("strict", "compat"):
            shown = scores[who]["dev"][scorer]
            assert lowest <= shown["low"] <= shown["mean"] <= shown["high"] <= highest and shown["size"] == 4


def test_one_iteration_with_a_judge_on_contexts_in_parts(workdir, capsys):
    real_file("qasper")
    rate = JudgeServer(answer=lambda prompt: f"Rating: {1 + len(prompt) % 10}/10", key="key")
    with judging(rate) as server:
        judge = ["--judge_url", f"{server.url}/v1", "--judge_model", MODEL]
        scores = searched("-e", "gemini_match", "-d", "qasper", *judge)
    assert 1 <= scores["found"]["dev"]["strict"]["mean"] <= 10
    assert "6 contexts have more than 6 chunks: nodes read several in a row" in capsys.readouterr().out


def test_compat_asks_abstainqa_s_second_question_on_another_graph_or_says_why_not(workdir, capsys):
    real_file("mmlu")
    words = ["-e", "abstainqa", "-d", "mmlu", "--compat", "paper-code", *SMALL]
    code = front_doors.guarded(lambda: search_program(words))
    if code == 0:
        system = json.loads(Path("search/mine/best/system.json").read_text())
        assert sorted(system["later_edges"]) != sorted(system["edges"])
    else:
        assert code == 2 and "would crash in its second pass" in capsys.readouterr().err
