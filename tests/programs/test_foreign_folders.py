"""Folders that come from somebody else: a found system, a run. They may say what was found, not what is done here."""

import json
import shutil
from pathlib import Path

import pytest
from judge_server import MODEL, JudgeServer, judging
from repository import ROOT
from tiny import change_json, make_models

from swarm.programs import front_doors
from swarm.programs.evaluate import evaluate_program
from swarm.programs.search import search_program

SMALL = "--graph_num 2 --trial_num 2 -m 0 --max_new_tokens 3 -n mine".split()
EVIL = "from pathlib import Path\nPath('ran').write_text('')\nfrom transformers import LlamaConfig as Config\n"


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = [{"question": f"what is {word}", "answer": word} for word in ("red", "green", "blue")]
    Path("words.json").write_text(json.dumps({"dev": rows, "test": rows}))
    return tmp_path


def search(*words):
    return front_doors.guarded(lambda: search_program([str(word) for word in words]))


def evaluate(*words):
    return front_doors.guarded(lambda: evaluate_program([str(word) for word in words]))


@pytest.fixture
def found(workdir):
    """A found system of full models."""
    experts = make_models(workdir)
    assert search("-e", "exact_match", "-d", "words.json", "-i", experts, *SMALL) == 0
    return Path("search/mine/best")


def test_a_system_runs_no_code_that_came_with_it(found, capsys):
    for expert in (found / "experts").iterdir():
        (expert / "evil.py").write_text(EVIL)
        change_json(expert / "config.json", lambda c: c.update(auto_map={"AutoConfig": "evil.Config"}))
    change_json(found / "system.json", lambda r: r["about"]["settings"].update(trust_remote_code=True))
    evaluate(found, "-d", "words.json")
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["about"].update(settings="x"),
        lambda record: record["about"].update(settings={"dev_size": "a"}),
        lambda record: record["about"].update(settings={"columns": 5}),
        lambda record: record.update(about=[1]),
        lambda record: record.update(edges=[[0]]),
        lambda record: record.update(later_edges="x"),
    ],
)
def test_a_damaged_system_is_one_line(found, capsys, change):
    change_json(found / "system.json", change)
    capsys.readouterr()
    assert evaluate(found, "-d", "words.json") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_other_settings_of_a_system_s_folder_count_for_nothing(found, capsys):
    settings = {"base_model": "elsewhere", "data_directory": "elsewhere", "judge_url": "http://127.0.0.1:9"}
    change_json(found / "system.json", lambda r: r["about"]["settings"].update(settings))
    assert evaluate(found, "-d", "words.json") == 0


def test_a_run_joins_no_cluster_that_was_not_named_here(workdir, capsys):
    """Whoever has a cluster can run code on the machines that join it."""
    pytest.importorskip("ray", reason="extra ray is not installed")
    shutil.copytree(ROOT / "data", workdir / "data")
    task = "-e exact_match -d graph_tasks_small --dev_limit 3 --test_limit 2".split()
    assert search(*task, *SMALL, "--max_generations", 5) == 3
    change_json(Path("search/mine/args.json"), lambda r: r.update(executor="ray", ray_address="127.0.0.1:9"))
    capsys.readouterr()
    assert search("--resume", "search/mine") == 2
    assert "joins a Ray cluster at 127.0.0.1:9, which you have not named here before" in capsys.readouterr().err
    for named in (["--ray_address", "127.0.0.1:9"], []):  # it is named once
        assert search("--resume", "search/mine", *named) == 2
        assert "no Ray cluster answers at 127.0.0.1:9" in capsys.readouterr().err
    assert search("--resume", "search/mine", "--engine", "in_process") == 0


def test_a_run_sends_no_key_to_an_address_that_was_not_named_here(workdir, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    shutil.copytree(ROOT / "data", workdir / "data")
    task = "-e gemini_match -d graph_tasks_small --dev_limit 3 --test_limit 2".split()
    with judging(JudgeServer(key="key")) as mine, judging(JudgeServer(key="key")) as theirs:
        judge = ["--judge_url", f"{mine.url}/v1", "--judge_model", MODEL]
        assert search(*task, *SMALL, *judge, "--max_generations", 20) == 3
        change_json(Path("search/mine/args.json"), lambda r: r.update(judge_url=f"{theirs.url}/v1"))
        capsys.readouterr()
        assert search("--resume", "search/mine") == 2
        assert f"asks a judge at {theirs.url}/v1, which you have not named here before" in capsys.readouterr().err
        assert theirs.requests == []
        assert search("--resume", "search/mine", "--judge_url", f"{theirs.url}/v1") == 0
        assert theirs.prompts
