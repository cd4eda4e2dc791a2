"""Searches by candidates through the front door: killed, given more, refused; and what they leave behind."""

import json
import random
import signal
import time
from pathlib import Path

import pytest
from repository import ROOT

from swarm.programs import front_doors
from swarm.programs.command import command_program
from swarm.programs.search import search_program

EXPERTS = ROOT / "data/embedded/experts"
TASK = ["-e", "exact_match", "-d", "graph_tasks_small", "--data_directory", ROOT / "data/eval", "-i", EXPERTS]
SMALL = [*TASK, "--dev_limit", 12, "--test_limit", 6, "--seed", 3]


def words(*parts):
    return [str(part) for part in parts]


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def steps(run):
    metrics = run / "metrics.jsonl"
    return metrics.read_text().count("\n") if metrics.exists() else 0


def story(run):
    """All that a run has to say, but how long it took and what was asked again."""
    state, result = (json.loads((run / name).read_text()) for name in ("state.json", "result.json"))
    for record in (state, result):
        del record["usage"]
    state.pop("final_usage")
    kept = ("step", "title", "all_time_best_dev", "candidates", "calls", "tokens")
    metrics = [{name: line[name] for name in kept} for line in rows(run / "metrics.jsonl")]
    files = [(run / name).read_bytes() for name in ("candidates.jsonl", "asked.bin", "best/system.json")]
    result.pop("engine"), result.pop("workers")
    return (
        state,
        {name: result[name] for name in ("scores", "stop_reason", "found", "graph", "candidates")},
        metrics,
        files,
    )


@pytest.fixture(scope="module")
def undisturbed(programs, tmp_path_factory):
    """The run that nothing ended: with experts of their own at nodes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, out, err = programs.run("search", *SMALL, "--max_calls", 2500, "-n", "whole", cwd=folder)
    assert code == 0, out + err
    assert "evolution ends after 2,500 calls" in out + err and "racing" in out + err
    return folder / "search" / "whole"


def test_killed_at_random_instants(programs, undisturbed, tmp_path):
    """SIGKILL at instants drawn at random, also between files and in the final scores."""
    run, rng = tmp_path / "search" / "whole", random.Random(1)
    command = ["search", *SMALL, "--max_calls", 2500, "-n", "whole"]
    for _ in range(4):
        before = steps(run)
        started, wanted = programs.start(*command, cwd=tmp_path), before + rng.randrange(1, 6)
        while steps(run) < wanted and not started.done():
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.1))
        started.kill(signal.SIGKILL)
        started.wait()
        command = ["search", "--resume", run] if run.exists() else command
    code, out, err = programs.run(*command, cwd=tmp_path)
    assert code == 0, out + err
    assert story(run) == story(undisturbed)


def test_what_it_leaves_is_used_like_any_other(undisturbed, programs, capsys):
    found = json.loads((undisturbed / "best/system.json").read_text())
    experts = sorted(path.name for path in (undisturbed / "best/experts").iterdir())
    assert set(found["places"]) == set(experts)
    result = json.loads((undisturbed / "result.json").read_text())
    code, out, err = programs.run("evaluate", undisturbed, cwd=undisturbed.parents[1])
    assert code == 0, err
    assert f"{result['scores']['found']['test']['strict']['mean']:.3f}" in out + err
    for command in (["show", undisturbed], ["runs", undisturbed.parent],
                    ["ask", undisturbed, "A-B:2 A-C:5 ; degree of A"]):  # fmt: skip
        assert command_program(words(*command)) == 0, capsys.readouterr()
    assert result["candidates"]["calls"] == sum(row["calls"] for row in rows(undisturbed / "candidates.jsonl")) <= 2500
    assert 0 <= result["candidates"]["racing_saved"] < 1
    assert {"all_time_best_dev", "requests", "shared", "usage_generations"} <= set(
        rows(undisturbed / "metrics.jsonl")[0]
    )


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def search(*arguments):
    try:
        return front_doors.guarded(lambda: search_program(words(*arguments)))
    except SystemExit as ended:
        return ended.code


def test_a_finished_run_can_be_given_more(place, capsys):
    assert search(*SMALL, "--optimizer", "random", "--max_calls", 500, "-n", "less") == 0
    less = rows(place / "search/less/candidates.jsonl")
    assert search("--resume", "search/less", "--max_calls", 900) == 0
    more = rows(place / "search/less/candidates.jsonl")
    assert more[: len(less)] == less and 500 < sum(row["calls"] for row in more) <= 900
    before = (place / "search/less/result.json").read_bytes()
    assert search("--resume", "search/less", "--optimizer", "evolution", "--max_calls", 950) == 2
    assert "--optimizer cannot change when a run is resumed" in capsys.readouterr().err
    assert (place / "search/less/result.json").read_bytes() == before


@pytest.mark.parametrize("optimizer", ["cmaes", "swarm-local"])
def test_other_optimizers(place, optimizer, capsys):
    assert search(*SMALL, "--optimizer", optimizer, "--max_calls", 1300, "-n", "mine") == 0
    result = json.loads((place / "search/mine/result.json").read_text())
    assert result["candidates"]["optimizer"] == optimizer and 600 < result["candidates"]["calls"] <= 1300
    if optimizer == "swarm-local":
        names = {path.name for path in Path("search/mine/best/experts").iterdir()}
        assert any("@" in name for name in names), "some node has an expert of its own"
        assert command_program(words("evaluate", "search/mine")) == 0
        assert f"{result['scores']['found']['test']['strict']['mean']:.3f}" in capsys.readouterr().out
        assert command_program(words("show", "search/mine")) == 0 and "@" in capsys.readouterr().out
        assert search(*SMALL, "--optimizer", "cmaes", "--graph", "search/mine/best", "--max_calls", 700) == 0


def test_instructions_and_composites_are_in_the_search(place):
    (place / "mine.yml").write_text(
        "default: published\ninstructions: {plain: {first: '{question}', later: '{previous}{question}'}}\n"
        "candidates: [default, plain]\n"
    )
    given = ["--instructions", "mine.yml", "--composites", "composites", "--max_calls", 1900]
    names = [path.name for path in sorted(EXPERTS.iterdir()) if path.is_dir()]
    (place / "composites/all").mkdir(parents=True)
    (place / "composites/all/node.json").write_text(json.dumps({"type": "vote", "members": names}))
    assert search(*SMALL, *given, "-n", "mine") == 0
    tried = rows(place / "search/mine/candidates.jsonl")
    assert any("all" in row["nodes"] for row in tried) and any("plain" in row.get("instructions", ()) for row in tried)


def test_contexts_in_parts_bound_the_nodes(place):
    record = json.loads((ROOT / "data/eval/graph_tasks_small.json").read_text())
    for split in ("dev", "test"):
        record[split] = [one | {"context_chunks": ["A", "B", "C"]} for one in record[split][:6]]
    (place / "parts.json").write_text(json.dumps(record))
    own = ["-e", "exact_match", "-d", "parts.json", "-i", EXPERTS, "--max_calls", 400, "-n", "mine"]
    assert search(*own) == 0
    sizes = [len(row["nodes"]) for row in rows(place / "search/mine/candidates.jsonl")]
    assert max(sizes) == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["--max_calls", 71],
            "--max_calls is 71, and a candidate of one node takes 12 calls on dev; wanted at least 72",
        ),
        (["--optimizer", "annealing"], "--optimizer is 'annealing'; wanted one of: evolution, swarm, swarm-local"),
        (["--optimizer", "cmaes", "--graph", "nowhere"], "--graph is nowhere, which holds no system that can be read"),
        (["--optimizer", "evolution", "--compat", "paper"], "--compat paper is the swarm's"),
    ],
)
def test_bad_input(place, capsys, given, said):
    assert search(*SMALL, *given) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in error


def test_a_dry_run_tells_the_budget(place, capsys):
    assert search(*SMALL, "--dry-run") == 0
    assert "evolution spends at most 3,600 calls: 72 for every expert alone" in capsys.readouterr().out
