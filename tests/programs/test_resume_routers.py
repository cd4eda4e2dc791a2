"""A search over experts, a fusion, a vote and routers that are fitted again: killed and resumed, the same numbers."""

import json
import random
import shutil
import signal
import time

import pytest
from repository import ROOT

from swarm.programs import front_doors
from swarm.programs.route.route import route_program
from swarm.programs.search import search_program
from swarm.reports.pictures import draw_graph
from swarm.system.system import System

TASK = ("-e", "exact_match", "-d", "graph_tasks_small", "-i", ROOT / "data/embedded/experts",
        "--data_directory", ROOT / "data/eval")  # fmt: skip
SEARCH = (*TASK, "--graph_num", 3, "--trial_num", 6, "--max_iteration", 3, "--dev_limit", 24, "--test_limit", 12,
          "--seed", 2, "--refresh_routers", 1)  # fmt: skip
FITTED = {"words": (), "states": ("--features", "hidden")}  # two routers, by what they read


@pytest.fixture(scope="module")
def composites(tmp_path_factory):
    """The embedded ones, and two routers as a user fits them."""
    folder = tmp_path_factory.mktemp("composites")
    shutil.copytree(ROOT / "data/embedded/composites", folder, dirs_exist_ok=True)
    fusion = json.loads((folder / "fusion/node.json").read_text())
    fusion["members"][-1]["model"] = str(ROOT / "data/embedded/second")
    (folder / "fusion/node.json").write_text(json.dumps(fusion))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        for name, options in FITTED.items():
            words = ["fit", *TASK, "--dev_limit", 48, "--out", folder / name, *options]
            assert route_program([str(word) for word in words]) == 0
    return folder


@pytest.fixture(scope="module")
def undisturbed(programs, composites, tmp_path_factory):
    """The run that nothing ended."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, out, err = programs.run("search", *SEARCH, "--composites", composites, "-n", "whole", cwd=folder)
    assert code == 0, out + err
    return folder / "search" / "whole"


def metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def story(run):
    """All that a run has to say, but how long it took and how much an interruption made it ask again."""
    state, result = (json.loads((run / name).read_text()) for name in ("state.json", "result.json"))
    again = ("shared", "from_disk")
    steps = [{k: v for k, v in line.items() if not k.startswith("usage") and k not in again} for line in metrics(run)]
    kept = {path.relative_to(run): path.read_bytes() for path in run.rglob("*.safetensors")}
    for record in (state, result):
        record.pop("usage")
    for count in ("fusions", "routers"):  # of this sitting
        result.pop(count)
    return state, result, steps, (run / "best" / "system.json").read_text(), kept


def test_routers_are_fitted_again_and_kept(undisturbed):
    state = json.loads((undisturbed / "state.json").read_text())
    assert set(state["routers"]) == set(FITTED)
    for name, digest in state["routers"].items():
        assert json.loads((undisturbed / "routers" / name / digest / "router.json").read_text())["digest"] == digest
    weights = [line for line in metrics(undisturbed) if line["title"].startswith("weight")]
    assert [line.get("router_words_questions") for line in weights] == [24, 24, None], "none after the last iteration"
    assert all(line["router_words_prompts"] >= line["router_words_labelled"] >= 24 for line in weights[:2])
    log = (undisturbed / "log.txt").read_text()
    line = "router words fitted again: {router_words_labelled} of {router_words_prompts} prompts, of 24 dev questions, "
    assert line.format(**weights[0]) in log


def test_the_found_system_names_its_types_and_holds_its_routers(programs, composites, undisturbed, tmp_path):
    state, result = (json.loads((undisturbed / name).read_text()) for name in ("state.json", "result.json"))
    best = System.load(undisturbed / "best")
    draw_graph(best, tmp_path / "graph.svg")
    assert (undisturbed / "graph.png").read_bytes()[:4] == b"\x89PNG"
    card = (undisturbed / "best" / "README.md").read_text()
    kinds = {"fusion": "fusion", "majority": "vote", "words": "router", "states": "router"}
    used = {best.member_at(node).name for node in best.graph}
    assert used & set(kinds), "or nothing is shown here: take another seed"
    for shown in ((tmp_path / "graph.svg").read_text(), "\n".join(result["graph"]), card):
        assert all(f"{name} ({kinds[name]})" in shown for name in used & set(kinds))
    for name in used & set(FITTED):
        [held] = (undisturbed / "best/experts" / name).glob("classifier/router.json")
        first = json.loads((composites / name / "classifier/router.json").read_text())["digest"]
        assert json.loads(held.read_text())["digest"] == state["best"]["routers"].get(name, first)
    code, out, err = programs.run("evaluate", undisturbed, "--split", "dev", "--limit", 24, "--json", cwd=tmp_path)
    assert code == 0, out + err


def test_killed_in_mid_step(programs, composites, undisturbed, tmp_path):
    """SIGKILL in the first weight step, and in both weight steps at whose ends routers are fitted again."""
    rng = random.Random(3)
    run = tmp_path / "search" / "killed"
    arguments = (*SEARCH, "--composites", composites, "-n", "killed")
    for steps in (1, 3, 5):
        started = programs.start("search", *arguments, cwd=tmp_path)
        while not started.done() and not ((run / "metrics.jsonl").exists() and len(metrics(run)) >= steps):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.3))
        started.kill(signal.SIGKILL)
        assert started.wait()[0] == -signal.SIGKILL
        assert json.loads((run / "state.json").read_text())["next_step"].endswith("weight"), "in mid-step"
        arguments = ("--resume", run)
    code, out, err = programs.run("search", *arguments, cwd=tmp_path)
    assert code == 0, out + err
    assert story(run) == story(undisturbed)
    assert not list(run.rglob(".*")), "no leftovers"


def test_a_run_that_lost_a_router_is_one_line(programs, undisturbed, tmp_path):
    run = shutil.copytree(undisturbed, tmp_path / "run")
    (run / "result.json").unlink()
    shutil.rmtree(run / "routers" / "words")
    code, _, err = programs.run("search", "--resume", run, cwd=tmp_path)
    assert code == 2 and err.count("\n") == 1
    assert "routers/words/" in err and "restore it from a copy" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no member is a router; add one with --composites, or leave the option out"),
        (("-e", "abstainqa", "-d", "choices"), "eval abstainqa asks a system more than once about an example"),
        (("-e", "gemini_match", "--judge_model", "m", "--judge_url", "http://localhost:9"), "asks a judge"),
    ],
)
def test_what_cannot_be_refreshed_is_one_line(composites, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    example = {"question": "which?", "choices": {"A": "one", "B": "two"}, "answer": "A"}
    (tmp_path / "choices.json").write_text(json.dumps({"dev": [example], "test": [example | {"question": "who?"}]}))
    given = [*TASK, "--refresh_routers", 2, *words]
    if "choices" in words:
        given += ["--data_directory", tmp_path]
    if words:
        given += ["--composites", composites]
    assert front_doors.guarded(lambda: search_program([str(word) for word in given])) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and message in err and "--refresh_routers is 2" in err
