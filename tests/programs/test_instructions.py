"""Instructions of one's own through the front doors: a search over two, what it keeps, and who asks so later."""

import json
import shutil
from pathlib import Path

import pytest
from repository import ROOT

import swarm
from swarm.programs import front_doors
from swarm.programs.evaluate import evaluate_program
from swarm.programs.search import search_program

TWO = """
default: published
instructions:
  solve:
    first: "Please answer the following question.\\nSolve: {context}{question}"
    later: "{previous}Solve: {context}{question}"
candidates: [published, solve]
"""
SMALL = "-e exact_match -d graph_tasks_small --graph_num 2 --trial_num 2 --dev_limit 20 --test_limit 12 -m 1".split()


def search(*words):
    return front_doors.guarded(lambda: search_program([str(word) for word in words]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with a search over two instructions, and one without."""
    where = tmp_path_factory.mktemp("instructions")
    shutil.copytree(ROOT / "data", where / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        patch.setenv("XDG_CACHE_HOME", str(where / "cache"))
        (where / "two.yml").write_text(TWO)
        assert search(*SMALL, "-n", "two", "--instructions", "two.yml") == 0
        assert search(*SMALL, "-n", "one") == 0
    return where


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    return folder


def dev(name):
    return json.loads(Path(f"search/{name}/result.json").read_text())["scores"]["found"]["dev"]["strict"]["mean"]


def test_a_node_gets_the_instruction_with_which_the_system_is_better(here, capsys):
    """The embedded base knows its tasks by "Solve:", so that this is worth much here (docs/embedded_experts.md)."""
    state = json.loads(Path("search/two/state.json").read_text())
    assert "solve" in state["best"]["instructions"] and dev("two") > dev("one")
    assert "asked as solve" in "\n".join(json.loads(Path("search/two/result.json").read_text())["graph"])
    capsys.readouterr()
    assert front_doors.guarded(lambda: evaluate_program(["search/two", "--split", "dev", "--json"])) == 0
    shown = json.loads(capsys.readouterr().out)
    assert dev("two") in [each["mean"] for each in find(shown, "strict")]


def find(value, key):
    """Every value under a key, at any depth."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from [part] if name == key else find(part, key)


def test_the_prompts_are_kept_and_told(here):
    result = swarm.Result("search/two")
    with swarm.load("search/two") as system:
        [trace] = system.answer(["A-B:3 ; is A next to B?"], trace=True)
    assert any("Solve: A-B:3" in trace.prompt(node) for node in trace.answers)
    kept = [json.loads(line) for line in Path("search/two/best/answers.jsonl").read_text().splitlines()]
    assert all("prompt" in node for record in kept for asked in record["asked"] for node in asked["nodes"])
    assert any("Solve: " in node["prompt"] for node in kept[0]["asked"][0]["nodes"])
    assert result.score().mean == pytest.approx(
        json.loads(Path("search/two/result.json").read_text())["scores"]["found"]["test"]["strict"]["mean"]
    )
    kept = [json.loads(line) for line in Path("search/one/best/answers.jsonl").read_text().splitlines()]
    assert not any("prompt" in node for node in kept[0]["asked"][0]["nodes"])


def test_a_run_goes_on_with_the_same_instructions_only(here, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "other"))
    assert search(*SMALL, "-n", "cut", "--instructions", "two.yml", "--max_generations", "250") == 0
    before = Path("two.yml").read_text()
    Path("two.yml").write_text(before.replace("Solve", "Do"))
    capsys.readouterr()
    assert search("--resume", "search/cut", "--max_generations", "100000") == 2
    assert "was begun with other content for instructions" in capsys.readouterr().err
    Path("two.yml").write_text(before)
    assert search("--resume", "search/cut", "--max_generations", "100000") == 0
    now, whole = (json.loads(Path(f"search/{name}/state.json").read_text()) for name in ("cut", "two"))
    assert now["best"] == whole["best"] and now["best_history"] == whole["best_history"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("instructions: {}", "has no default"), ("default: published\nnodes: {6: published}", "nodes has 6")],
)
def test_bad_files_are_one_line_before_anything_is_loaded(here, capsys, text, said):
    Path("bad.yml").write_text(text)
    assert search(*SMALL, "-n", "never", "--instructions", "bad.yml") == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not Path("search/never").exists()
