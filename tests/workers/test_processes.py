"""Real processes that are killed, stop, run out of memory or speak out of turn; engines without weights."""

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import obeying
import psutil
import pytest
from forked_starts import fork_workers
from obeying import Obeying
from run_stories import alive
from worlds import PARAMS, chaotic, paper_pool

from swarm.engines.scripted import ScriptedEngine
from swarm.errors import UserError
from swarm.system.prompts import Query
from swarm.system.scheduler import Scheduler
from swarm.system.system import single
from swarm.workers.processes import Processes
from swarm.workers.worker_executor import Limits, WorkerExecutor

EXPERT = paper_pool(1).experts()[0]


def queries(*commands):
    """Questions for both workers, some of which are commands."""
    return [Query(f"question {number}") for number in range(24)] + [Query(f"do {command}") for command in commands]


def answers(engine, asked):
    return Scheduler(engine).answer_all([(single(EXPERT), asked)], PARAMS)[0]


def numbers_of(executor):
    return [int(work.location.split()[-1]) for work in executor.work()]


@pytest.fixture
def executor(long_lived, monkeypatch):
    """Two workers; they are lost many times over, and those that take their places come from a fork."""
    fork_workers(monkeypatch)
    return long_lived


@pytest.fixture(scope="module")
def long_lived(tmp_path_factory):
    """These workers, really started, until the file's last test."""
    folder = tmp_path_factory.mktemp("done")
    before = {child.pid for child in psutil.Process().children()}
    executor = WorkerExecutor(Processes([partial(Obeying, folder)] * 2), Limits(answer=1.5))
    yield executor
    executor.close()
    executor.close()
    children = [child for child in psutil.Process().children() if child.pid not in before]
    kinds = [re.search("resource_tracker|forkserver", " ".join(child.cmdline())) for child in children]
    assert all(kinds), "no process is left, no zombie"


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        ([], None),
        (["killed"], "was killed by signal 9 (Killed)"),
        (["stopped"], "gave no sign for "),
        (["full"], "ran out of memory"),
        (["leave"], "ended with exit code 3: the device is gone"),
    ],
)
def test_the_answers_are_those_of_this_process_whatever_happens(executor, caplog, commands, reason):
    asked = queries(*commands)
    assert answers(executor, asked) == answers(ScriptedEngine(chaotic), asked)
    losses = [text for work in executor.work() for text in work.losses]
    assert (reason is None and not losses) or any(text.startswith(reason) for text in losses), losses
    assert reason is None or f"was lost: it {reason}" in caplog.text


def test_what_a_worker_says_reaches_the_log_and_not_the_terminal(executor, caplog, capfd):
    caplog.set_level("INFO")
    answers(executor, queries("speak"))
    deadline = time.monotonic() + 10
    wanted = ("an information", "UserWarning: a warning", "wrote: to the terminal", "wrote: from another program")
    while time.monotonic() < deadline and not all(text in caplog.text for text in wanted):
        time.sleep(0.01)
    assert [text for text in wanted if text not in caplog.text] == []
    # what was written to the terminal is for the log's file only
    assert [hasattr(record, "file_only") for record in caplog.records] == [
        "wrote:" in record.getMessage() for record in caplog.records
    ]
    assert capfd.readouterr() == ("", "")


def test_a_batch_larger_than_the_pipe_to_a_worker_that_has_stopped(executor):
    """Nobody waits for it to be read."""
    # the other one may still be starting, after an earlier test
    os.kill(next(number for number in numbers_of(executor) if psutil.pid_exists(number)), signal.SIGSTOP)
    asked = [Query(f"{number} ".ljust(100_000, ".")) for number in range(16)]
    assert answers(executor, asked) == answers(ScriptedEngine(chaotic), asked)


def test_what_an_engine_raises(executor):
    """Reaches the caller; nobody is lost by it, and the executor can be asked again."""

    def losses():
        """A busy machine may leave a worker without a sign for as long as these tests wait."""
        return [loss for work in executor.work() for loss in work.losses if not loss.startswith("gave no sign")]

    before = losses()
    with pytest.raises(RuntimeError, match=r"(?s)worker \d .*Traceback.*in wrong.*ValueError: a fault of the program"):
        answers(executor, [Query("do wrong")])
    with pytest.raises(UserError, match="^shorter prompts are wanted$"):
        answers(executor, [Query("do cure")])
    assert answers(executor, queries()) == answers(ScriptedEngine(chaotic), queries())
    assert losses() == before


def test_what_all_workers_have_done_is_added_up(tmp_path, monkeypatch):
    fork_workers(monkeypatch)
    executor = WorkerExecutor(Processes([partial(Obeying, tmp_path)] * 2), Limits(tries=2))
    answers(executor, [Query(f"{number} halve") for number in range(24)])
    first, second = executor.work()
    assert executor.tally().halvings == 24 and first.requests + second.requests == 24 and first.requests >= 8
    assert all(work.tokens and work.memory > 1e6 and 0 < work.busy <= work.seconds for work in (first, second))
    with pytest.raises(UserError, match="8 prompts for expert_0 have ended 2 workers .*killed by signal 9"):
        answers(executor, [Query(f"{number} always") for number in range(8)])
    numbers = numbers_of(executor)
    executor.close()
    assert not alive(numbers)


def test_an_engine_that_cannot_be_made_is_one_line(tmp_path):
    with pytest.raises(UserError, match="^the base is not there: bring it$"):
        WorkerExecutor(Processes([obeying.refused]))
    assert not [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]


def test_workers_end_with_their_parent_however_it_ends(tmp_path):
    """One of them has stopped, and could do nothing about it itself."""
    command = [sys.executable, obeying.__file__, tmp_path]
    paths = os.pathsep.join([str(Path(obeying.__file__).parent), *filter(None, sys.path)])
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True) as parent:
        numbers = list(map(int, parent.stdout.readline().split()))
        assert len(set(numbers)) >= 3 and len(alive(set(numbers))) >= 3, "two workers, and what multiprocessing needs"
        parent.kill()
    deadline = time.monotonic() + 10
    while alive(numbers) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(numbers)
