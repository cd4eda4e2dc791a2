"""A search whose pool holds a blend runs to its end, goes on after a stop, and what it found is scored again."""

import json
import shutil
from pathlib import Path

from repository import ROOT
from scorers import make_classifier, make_fuser

from swarm.programs import front_doors
from swarm.programs.evaluate import evaluate_program
from swarm.programs.search import search_program


def test_a_blend_in_a_search(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "data" / "embedded", tmp_path / "data" / "embedded")
    (tmp_path / "data" / "eval").mkdir()
    shutil.copy(ROOT / "data" / "eval" / "graph_tasks_small.json", tmp_path / "data" / "eval")
    monkeypatch.chdir(tmp_path)
    make_classifier(Path("ranker"), window=64)
    make_fuser(Path("fuser"))
    experts = sorted(path.name for path in Path("data/embedded/experts").iterdir() if path.is_dir())
    for name, more in (("ranked", {"mode": "bubble"}), ("blended", {"fuser": "../../fuser", "top_k": 2})):
        (tmp_path / "composites" / name).mkdir(parents=True)
        record = {"type": "blend", "members": experts[:3], "ranker": "../../ranker"} | more
        (tmp_path / "composites" / name / "node.json").write_text(json.dumps(record))
    words = ["-e", "exact_match", "-d", "graph_tasks_small", "--composites", "composites", "--graph_num", "2",
             "--trial_num", "2", "--dev_limit", "8", "--test_limit", "8", "--seed", "1", "-n", "blended"]  # fmt: skip
    assert search_program([*words, "-m", "1", "--dry-run"]) == 0
    stopped = front_doors.guarded(lambda: search_program([*words, "-m", "2", "--max_generations", "150"]))
    assert stopped == 0 and "--max_generations 150 reached" in capsys.readouterr().out, "the limit ends it"
    assert search_program(["--resume", "search/blended", "--max_generations", "100000"]) == 0
    result = json.loads(Path("search/blended/result.json").read_text())
    counts = result["blends"]
    assert set(counts) == {"ranked", "blended"} and counts["blended"]["fused"] and not counts["ranked"]["fused"]
    assert result["scores"]["best_composite"]["name"] == "ranked", "a random fuser's texts are right by no chance"
    capsys.readouterr()
    assert evaluate_program(["search/blended", "--json", "--limit", "4"]) == 0
    assert json.loads(capsys.readouterr().out)
    metrics = [json.loads(line) for line in Path("search/blended/metrics.jsonl").read_text().splitlines()]
    assert any(f"model_{len(experts) + 1}_now" in line for line in metrics), "blends have credit like anybody"
