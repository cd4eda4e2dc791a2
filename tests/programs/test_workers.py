"""Searches by several processes, as a user types them: the run of one process, whatever happens to them."""

import json
import os
import signal
from functools import partial

import psutil
import pytest
from forked_starts import fork_workers
from obeying import Obeying
from repository import ROOT
from run_stories import alive, steps_written, story, wait_for, without_counts

from swarm.engines.executor import SingleEngine
from swarm.evolution.run_folder import Run
from swarm.programs import front_doors
from swarm.programs import search as search_module
from swarm.programs.engine_choice import cores
from swarm.programs.search import search_program
from swarm.workers.processes import Processes
from swarm.workers.worker_executor import Limits, WorkerExecutor

TASK = ("-e", "exact_match", "-d", "graph_tasks_small", "-i", ROOT / "data/embedded/experts",
        "--data_directory", ROOT / "data/eval", "--graph_num", 3, "--trial_num", 3, "--seed", 5)  # fmt: skip
PLAIN = (*TASK, "--dev_limit", 24, "--test_limit", 24, "--max_iteration", 2)
FUSED = (*TASK, "--composites", ROOT / "data/embedded/composites",
         "--graph_num", 2, "--trial_num", 2, "--dev_limit", 4, "--test_limit", 4, "--max_iteration", 0)  # fmt: skip
TWO = ("--workers", 2)
pytestmark = pytest.mark.skipif(cores() < 2, reason="two workers need two cores")


def by_one_process(programs, folder, options):
    code, out, err = programs.run("search", *options, "--no-cache", "-n", "run", cwd=folder)
    assert code == 0, out + err
    return folder / "search" / "run"


@pytest.fixture(scope="module")
def plain(programs, tmp_path_factory):
    """The run of one process, of experts only."""
    return by_one_process(programs, tmp_path_factory.mktemp("plain"), PLAIN)


@pytest.fixture(scope="module")
def fused(programs, tmp_path_factory):
    """The run of one process, with a vote and a fusion."""
    return by_one_process(programs, tmp_path_factory.mktemp("fused"), FUSED)


def result_of(run):
    return json.loads((run / "result.json").read_text())


def processes_below(number):
    return psutil.Process(number).children(recursive=True)


def forked_workers():
    """Of this process, by the one that forks them."""
    return [child for child in processes_below(os.getpid())
            if "forkserver" in " ".join(child.cmdline()) and child.ppid() != os.getpid()]  # fmt: skip


def at_work(started):
    """The numbers of its workers, started by a fork of it, once both are busy."""
    found = [child for child in processes_below(started.pid) if child.ppid() != started.pid]
    before = {child.pid: sum(child.cpu_times()[:2]) for child in found}
    wait_for(lambda: all(sum(child.cpu_times()[:2]) > before[child.pid] + 0.02 for child in found))
    return sorted(before)


def test_two_processes_do_what_one_does(programs, fused, tmp_path):
    """With fusions in both of them; their work is added up."""
    code, out, err = programs.run("search", *FUSED, *TWO, "--no-cache", "-n", "run", cwd=tmp_path)
    assert (code, err) == (0, ""), out + err
    run = tmp_path / "search" / "run"
    assert story(run) == story(fused)
    assert result_of(run)["fusions"]["fusion"]["tokens"] > 0
    assert "float32 on cpu, 2 workers" in out and "% busy, " in out and result_of(fused)["workers"] == []
    first, second = result_of(run)["workers"]
    assert min(first["requests"], second["requests"]) > 8 and min(first["tokens_per_second"], first["memory_bytes"])
    steps = [json.loads(line)["workers"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= worker["idle_share"] <= 1 for step in steps for worker in step)
    assert sum(worker["requests"] for step in steps for worker in step) <= first["requests"] + second["requests"]


def test_sampled_answers_are_those_of_one_process(programs, tmp_path):
    """With random numbers that belong to requests and not to whoever answers them; killed once, too."""
    small = (*TASK, "--dev_limit", 8, "--test_limit", 8, "--max_iteration", 0, "--sampling", "temperature=2,seed=1")
    for name, more in (("one", ()), ("two", TWO)):
        code, out, err = programs.run("search", *small, *more, "--no-cache", "-n", name, cwd=tmp_path)
        assert code == 0, out + err
    started = programs.start("search", *small, "--no-cache", "-n", "cut", cwd=tmp_path, by_forks=True)
    run = tmp_path / "search" / "cut"
    wait_for(lambda: steps_written(run) >= 1 or started.done())
    if not started.done():
        os.kill(started.pid, signal.SIGKILL)
    started.wait()
    assert programs.run("search", "--resume", run, cwd=tmp_path)[0] == 0
    one, two, cut = (without_counts(story(tmp_path / "search" / name)) for name in ("one", "two", "cut"))
    assert one == two == cut


def test_lost_in_mid_step_then_interrupted_then_one_process(programs, plain, tmp_path):
    """One worker is killed and one stops for good; Ctrl-C leaves nothing behind; one process ends the run."""
    options = (*TWO, "--worker_timeout", 1, "-n", "run")
    started = programs.start("search", *PLAIN, *options, cwd=tmp_path, by_forks=True)
    run = tmp_path / "search" / "run"
    wait_for(lambda: steps_written(run) >= 1 or started.done())
    first, second = at_work(started)
    os.kill(first, signal.SIGKILL)
    os.kill(second, signal.SIGSTOP)
    before = steps_written(run)
    wait_for(lambda: steps_written(run) > before + 1 or started.done())
    below = [process.pid for process in processes_below(started.pid)]
    for number in (*below, started.pid):  # as a terminal does
        if psutil.pid_exists(number):
            os.kill(number, signal.SIGINT)
    code, out, err = started.wait()
    assert code == 130, out + err
    assert "was lost: it was killed by signal 9 (Killed)" in err and "was lost: it gave no sign for 1 s" in err
    assert "Traceback" not in err and "nothing is lost: " in out
    wait_for(lambda: not alive(below), 10)
    assert len(below) >= 2
    code, out, err = programs.run("search", "--resume", run, "--workers", 1, cwd=tmp_path)
    assert code == 0, out + err
    assert without_counts(story(run)) == without_counts(story(plain))


def test_a_batch_that_ends_every_worker(monkeypatch, tmp_path, capsys):
    """Ends the step by name, with the state safe; without what ends them the run goes on to the same end."""
    fork_workers(monkeypatch)
    monkeypatch.chdir(tmp_path)
    questions = [{"question": f"question {number}", "answer": "red"} for number in range(12)]
    questions.append({"question": "poison", "answer": "red"})
    (tmp_path / "mine.json").write_text(json.dumps({"dev": questions, "test": questions}))
    search = [str(a) for a in ("-e", "exact_match", "-d", "mine.json", *TASK[4:], "-m", 1, "--no-cache")]

    def program(*arguments):
        return front_doors.guarded(lambda: search_program(list(arguments))), capsys.readouterr()

    monkeypatch.setattr(search_module, "make_executor", lambda members, config: SingleEngine(Obeying(tmp_path)))
    assert program(*search, "-n", "alone")[0] == 0

    def poisoned(members, config):
        executor = WorkerExecutor(Processes([partial(Obeying, tmp_path)] * 2), Limits(tries=2))
        assert len(forked_workers()) == 2
        return executor

    save = Run.save

    def save_and_poison(run, state):
        save(run, state)
        (tmp_path / "poison").touch()

    with monkeypatch.context() as first_sitting:
        first_sitting.setattr(search_module, "make_executor", poisoned)
        first_sitting.setattr(Run, "save", save_and_poison)
        code, (out, err) = program(*search, "-n", "run")
    assert code == 2 and "prompts for expert_" in err and "have ended 2 workers (worker " in err
    assert "killed by signal 9" in err and "the run is safe up to step 'first experts'" in out
    assert not forked_workers()
    (tmp_path / "poison").unlink()
    assert program("--resume", "search/run")[0] == 0
    assert without_counts(story(tmp_path / "search/run")) == without_counts(story(tmp_path / "search/alone"))


def test_a_found_system_is_scored_by_two_processes(programs, plain, tmp_path):
    scores = []
    for workers in (1, 2):
        options = ("--limit", 24, "--no-cache", "--json", "--workers", workers)
        code, out, err = programs.run("evaluate", plain, *options, cwd=tmp_path, by_forks=True)
        assert (code, err) == (0, ""), out + err
        scores.append(json.loads(out))
    assert scores[0] == scores[1]
