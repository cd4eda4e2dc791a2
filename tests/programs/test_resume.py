"""Whatever ends a run, going on gives the numbers of a run that nothing ended. Real runs on the embedded experts."""

import json
import random
import shlex
import shutil
import signal
import sqlite3
import sys
import time
from contextlib import closing

import pytest
from repository import ROOT

SEARCH = (
    "-e",
    "exact_match",
    "-d",
    "graph_tasks_small",
    "-i",
    ROOT / "data/embedded/experts",
    "--data_directory",
    ROOT / "data/eval",
    "--graph_num",
    4,
    "--trial_num",
    4,
    "--max_iteration",
    3,
    "--dev_limit",
    12,
    "--test_limit",
    12,
    "--top_p",
    0.5,
    "--step_length",
    0.5,
    "--repel_term",
    1,
    "--restart_stray_particles",
    1,
    "--restart_patience",
    0.3,
    "--seed",
    5,
)


@pytest.fixture(scope="module")
def undisturbed(programs, tmp_path_factory):
    """The run that nothing ended."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, out, err = programs.run("search", *SEARCH, "-n", "whole", cwd=folder)
    assert code == 0, out + err
    return folder / "search" / "whole"


def steps_written(run):
    """Lines of metrics.jsonl so far; the result counts as one more."""
    metrics = run / "metrics.jsonl"
    return (metrics.read_text().count("\n") if metrics.exists() else 0) + (run / "result.json").exists()


ASKED_AGAIN = ("shared", "from_disk")


def story(run):
    """All that a run has to say, but how long it took and how much an interruption made it ask again."""
    state = json.loads((run / "state.json").read_text())
    result = json.loads((run / "result.json").read_text())
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [{k: v for k, v in line.items() if not k.startswith("usage") and k not in ASKED_AGAIN} for line in metrics]
    system = json.loads((run / "best" / "system.json").read_text())
    experts = {p.parent.name: p.read_bytes() for p in sorted(run.glob("best/experts/*/adapter_model.safetensors"))}
    for record in (state, result):
        record.pop("usage")
    state.pop("final_usage")
    return state, result, steps, system, experts


def generations(run, name="result.json"):
    """How many generations a run has counted."""
    return json.loads((run / name).read_text())["usage"]["generations"]


def test_killed_at_random_points(programs, undisturbed, tmp_path):
    """SIGKILL at random moments of a sitting's first steps, until a sitting gets to the end."""
    rng = random.Random(1)
    arguments, kills, seen = (*SEARCH, "-n", "killed"), 0, set()
    run = tmp_path / "search" / "killed"
    code = None
    while code is None or code == -signal.SIGKILL:
        before = steps_written(run)
        # none, one or two steps may be finished, so that every part of the run is hit, and the end comes
        allowed = before + rng.choice((0, 0, 1, 2)) if kills < 30 else 99
        started = programs.start("search", *arguments, cwd=tmp_path)
        while steps_written(run) < allowed and not started.done():
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.3))
        started.kill(signal.SIGKILL)
        code, out, err = started.wait()
        kills += code == -signal.SIGKILL
        if (run / "state.json").exists():
            state = json.loads((run / "state.json").read_text())
            seen.add((state["next_step"], state["iteration"]))
        if run.exists():
            arguments = ("--resume", run)
    assert code == 0, out + err
    assert kills >= 5 and len(seen) >= 3, (kills, seen)
    assert story(run) == story(undisturbed)
    assert generations(run) >= generations(undisturbed), "what was kept of a step that was cut off was work, too"
    assert not list(run.rglob(".*")), "no leftovers"


def test_the_same_command_twice_is_the_same_run(programs, undisturbed, tmp_path):
    """Or nothing above means much."""
    assert programs.run("search", *SEARCH, "-n", "again", cwd=tmp_path)[0] == 0
    assert story(tmp_path / "search" / "again") == story(undisturbed)


def test_killed_while_the_best_system_is_written(programs, undisturbed, tmp_path):
    """The state is ahead of it then: the folder is half there under its waiting name, or an older system's."""
    run = shutil.copytree(undisturbed, tmp_path / "search" / "run")
    (run / "result.json").unlink()
    (run / "best").rename(run / ".best.123.tmp")
    (run / ".best.123.tmp" / "system.json").unlink()
    started = programs.start("search", "--resume", run, cwd=tmp_path)
    while not (run / "best" / "system.json").exists() and not started.done():
        time.sleep(0.001)
    assert not (run / "result.json").exists(), "it is there again before anything is scored"
    code, out, err = started.wait()
    assert code == 0, out + err
    assert story(run) == story(undisturbed)
    assert not list(run.rglob(".*")), "no leftovers"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_politely(programs, undisturbed, tmp_path, number):
    started = programs.start("search", *SEARCH, "-n", "asked", cwd=tmp_path)
    run = tmp_path / "search" / "asked"
    while not (run / "state.json").exists():
        time.sleep(0.01)
    started.kill(number)
    code, out, err = started.wait()
    assert code == 130, out + err
    go_on = next(line.partition("nothing is lost: ")[2] for line in out.splitlines() if "nothing is lost: " in line)
    assert shlex.split(go_on) == [sys.executable, str(ROOT / "search.py"), "--resume", str(run)], "wherever it is typed"
    assert "Traceback" not in err
    code, out, err = programs.run("search", "--resume", "search/asked", cwd=tmp_path)
    assert code == 0, out + err
    assert "resumed: search/asked, next step:" in out
    assert story(run) == story(undisturbed)


@pytest.mark.parametrize("limit", [("--max_generations", 700), ("--max_tokens", 13_500), ("--max_time", 0.3)])
def test_a_limit_ends_it_with_the_best_so_far(programs, undisturbed, tmp_path, limit):
    code, out, err = programs.run("search", *SEARCH, *limit, "-n", "limited", cwd=tmp_path)
    run = tmp_path / "search" / "limited"
    if limit[0] == "--max_time" and not (run / "result.json").exists():
        assert code == 3 and "nothing was found" in out, "on a busy machine the time is up before the first scores"
    else:
        assert code == 0, out + err
        result = json.loads((run / "result.json").read_text())
        assert result["stop_reason"] == f"{limit[0]} {limit[1]:g} reached"
        assert result["scores"]["found"]["test"]["strict"]["size"] == 12
        assert result["iterations"] < 3
    before = generations(run) if (run / "result.json").exists() else 0
    searched = generations(run, "state.json")
    code, out, err = programs.run("search", "--resume", "search/limited", cwd=tmp_path)
    assert code == 0, out + err
    assert story(run) == story(undisturbed)
    state = json.loads((run / "state.json").read_text())
    assert state["final_usage"]["generations"] == max(before - searched, 0), "the limit's final scores were work, too"
    assert generations(run) >= max(generations(undisturbed), before)


def test_a_limit_s_result_is_not_taken_for_the_end_s(programs, undisturbed, tmp_path):
    """Limited, resumed, killed in the final scoring, resumed: the scores are those of the whole search."""
    limit = ("--max_generations", 700, "--strict_exit")
    assert programs.run("search", *SEARCH, *limit, "-n", "late", cwd=tmp_path)[0] == 3
    run = tmp_path / "search" / "late"
    started = programs.start("search", "--resume", run, cwd=tmp_path)
    while json.loads((run / "state.json").read_text())["next_step"] != "final" and not started.done():
        time.sleep(0.001)
    started.kill(signal.SIGKILL)
    started.wait()
    code, out, err = programs.run("search", "--resume", run, cwd=tmp_path)
    assert code == 0, out + err
    assert story(run) == story(undisturbed)


def test_a_resume_is_no_dry_run(programs, tmp_path):
    code, _, err = programs.run("search", "--resume", "search/x", "--dry-run", cwd=tmp_path)
    assert code == 2 and "wanted it without a settings file, --save-config, --dry-run and" in err


def test_limits_outlast_a_kill(programs, tmp_path):
    """A limit that was not used up yet holds for the next sitting too."""
    limit = ("--max_generations", 700, "--strict_exit")
    started = programs.start("search", *SEARCH, *limit, "-n", "kept", cwd=tmp_path)
    run = tmp_path / "search" / "kept"
    while steps_written(run) < 1 and not started.done():
        time.sleep(0.001)
    started.kill(signal.SIGKILL)
    started.wait()
    code, out, err = programs.run("search", "--resume", run, cwd=tmp_path)
    assert code == 3, out + err


def test_texts_of_an_earlier_run_are_not_generated_again(programs, undisturbed, tmp_path):
    """The same search without the cache, with an empty one, as the undisturbed one had it, and with a full one."""
    home, generations, from_disk = undisturbed.parents[1], {}, {}
    begun = {"without": (tmp_path, "--no-cache"), "full": (home,), "without_again": (tmp_path, "--no-cache")}
    for name, (folder, *options) in begun.items():
        code, out, err = programs.run("search", *SEARCH, *options, "-n", name, cwd=folder)
        assert code == 0, out + err
    runs = {name: folder / "search" / name for name, (folder, *_) in begun.items()} | {"empty": undisturbed}
    for name, run in runs.items():
        assert story(run) == story(undisturbed)
        generations[name] = json.loads((run / "result.json").read_text())["usage"]["generations"]
        metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        from_disk[name] = sum(line["from_disk"] for line in metrics)
    assert generations["without"] == generations["without_again"] > 500
    # an expert that comes back to where it was is known to the disk, when memory has forgotten it; so are final scores
    assert generations["empty"] < generations["without"] - from_disk["empty"] < generations["without"]
    assert generations["full"] == from_disk["without"] == from_disk["without_again"] == 0


def test_evaluating_what_was_found_asks_nothing_again(programs, undisturbed):
    """The evolved experts in best/ are those that the search has asked."""
    home = undisturbed.parents[1]
    cache = home / ".cache" / "h_swarm" / "answers.sqlite"
    kept = []
    for options in ([], ["--split", "dev"], ["--no-cache"]):
        with closing(sqlite3.connect(cache)) as database:
            kept.append(database.execute("SELECT count(*) FROM answers").fetchone()[0])
        code, out, err = programs.run("evaluate", undisturbed, "--limit", 12, *options, cwd=home)
        assert code == 0, out + err
    assert kept[0] == kept[1] == kept[2] > 100


def test_a_cache_that_cannot_be_kept_is_one_line_with_the_cure(programs, tmp_path):
    code, out, err = programs.run("search", *SEARCH, "-n", "full", cwd=tmp_path, file_limit=20_000)
    assert code == 2, out + err
    assert "answers.sqlite: the generated answers cannot be kept there" in err and "(--no-cache)" in err
    assert err.count("\n") == 1


def test_a_limit_before_anything_was_found(programs, tmp_path):
    code, out, err = programs.run("search", *SEARCH, "--max_generations", 5, "-n", "nothing", cwd=tmp_path)
    assert code == 3
    assert "nothing was found: the first 4 graphs were not scored before the limit" in out
    assert "--max_generations 5 is less than the start alone may take" in err


def test_a_full_disk_stops_it_with_the_state_safe(programs, undisturbed, tmp_path):
    """No file may grow beyond 50 kB: the state fits, an adapter of the best system does not."""
    code, out, err = programs.run("search", *SEARCH, "--no-cache", "-n", "full", cwd=tmp_path, file_limit=50_000)
    assert code == 2, out + err
    assert "search/full cannot be written" in err and "make room, then --resume" in err
    assert err.count("\n") == 1
    code, out, err = programs.run("search", "--resume", "search/full", cwd=tmp_path)
    assert code == 0, out + err
    assert story(tmp_path / "search" / "full") == story(undisturbed)


def test_a_second_start_in_the_same_folder(programs, undisturbed, tmp_path):
    """The folder is in use while a process works in it."""
    started = programs.start("search", *SEARCH, "-n", "busy", cwd=tmp_path)
    while not (tmp_path / "search" / "busy" / "state.json").exists():
        time.sleep(0.01)
    code, _, err = programs.run("search", "--resume", "search/busy", cwd=tmp_path)
    assert code == 2 and "search/busy is in use by another process" in err
    started.kill(signal.SIGKILL)
    started.wait()
    code, out, _ = programs.run("search", "--resume", "search/busy", cwd=tmp_path)
    assert code == 0, out
    assert story(tmp_path / "search" / "busy") == story(undisturbed)


def test_a_complete_run_shows_its_result_again(programs, undisturbed):
    code, out, _ = programs.run("search", "--resume", undisturbed, cwd=undisturbed.parent)
    assert code == 0
    assert "is complete" in out and "found system" in out


def test_other_experts_or_data_are_refused(programs, undisturbed, tmp_path):
    """Digests, not paths: moved content is welcome, changed content is not."""
    run = shutil.copytree(undisturbed, tmp_path / "run")
    (run / "result.json").unlink()
    shutil.copytree(ROOT / "data/embedded", tmp_path / "embedded")
    moved = ("-i", tmp_path / "embedded/experts")
    assert programs.run("search", "--resume", run, *moved, cwd=tmp_path)[0] == 0
    (run / "result.json").unlink()
    config = next((tmp_path / "embedded/experts").iterdir()) / "adapter_config.json"
    for other in (tmp_path / "embedded/experts").iterdir():
        config = other / "adapter_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_alpha": 17}))
    code, _, err = programs.run("search", "--resume", run, *moved, cwd=tmp_path)
    assert code == 2 and "begun with other content for experts" in err
    data = json.loads((ROOT / "data/eval/graph_tasks_small.json").read_text())
    data["dev"][0]["question"] += " ?"
    (tmp_path / "graph_tasks_small.json").write_text(json.dumps(data))
    code, _, err = programs.run("search", "--resume", run, "--data_directory", tmp_path, cwd=tmp_path)
    assert code == 2 and "begun with other content for dataset" in err
