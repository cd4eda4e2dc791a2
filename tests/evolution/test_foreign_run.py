"""A run's folder that came from somebody else: nothing in it leads what is written elsewhere, or waits for ever."""

import os
import shutil
import threading

import pytest
from worlds import problem

from swarm.engines.metered import Usage
from swarm.errors import UserError
from swarm.evals.judges.budget import JudgeUsage
from swarm.evolution.checked_config import make_config
from swarm.evolution.run_folder import FILES, FOLDERS, Run, create_run, open_run
from swarm.evolution.state import first_state
from swarm.evolution.steps import STEPS

NAMES = ("lock", *FILES, *FOLDERS, "best/system.json", "best/experts", "graphs/global_best/adjacency.npy", "anything")


@pytest.fixture
def folder(tmp_path):
    """A run's folder, closed."""
    task = {"eval_type": "exact_match", "dataset": "some.json", "name": "run"}
    run = create_run(tmp_path / "search", make_config(task), {})
    run.save(STEPS["start_role"](problem(), first_state(1)))
    run.close()
    return run.folder


@pytest.mark.parametrize("kind", ["link", "pipe", "other"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_it_may_lead_elsewhere(folder, tmp_path, name, kind):
    """`other` is a folder for a file, and a file for a folder."""
    mine = tmp_path / "mine"
    mine.write_text("the only copy of my notes")
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    is_folder = name in (*FOLDERS, "best/experts")
    if place.is_file():
        place.unlink()
    if kind == "link":
        place.symlink_to(mine)
    elif kind == "pipe":
        os.mkfifo(place)
    elif is_folder:
        place.touch()
    else:
        place.mkdir()
    if kind == "other" and name not in ("lock", *FILES, *FOLDERS):
        Run(folder).close()  # which is replaced as a whole with what is around it, or never looked at
        return
    with pytest.raises(UserError) as refused:
        open_run(folder, {})
    assert place.name in str(refused.value) and "\n" not in str(refused.value)
    assert mine.read_text() == "the only copy of my notes"


def test_the_way_to_a_run_may_be_a_link(folder, tmp_path):
    shutil.move(folder, tmp_path / "large_disk")
    folder.symlink_to(tmp_path / "large_disk")
    run, _ = open_run(folder, {})
    run.write_metrics(1, {"score": 1.0})
    run.close()
    assert (tmp_path / "large_disk" / "metrics.jsonl").read_text() == '{"step": 1, "score": 1.0}\n'


@pytest.mark.parametrize("name", ["state.json", "metrics.jsonl", "utility_scratchpad.json", "judge_usage.json",
                                  "usage.json", "log.txt", "best", "graphs"])  # fmt: skip
def test_what_comes_after_it_was_opened_is_not_written_through_either(folder, tmp_path, name):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    run, world = Run(folder), problem()
    state = STEPS["start_role"](world, first_state(1))
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(mine)
    writers = {
        "state.json": lambda: run.save(state),
        "metrics.jsonl": lambda: run.write_metrics(1, {}),
        "utility_scratchpad.json": lambda: run.write_scratchpad(state),
        "judge_usage.json": lambda: run.keep_judge_usage(JudgeUsage(1)),
        "usage.json": lambda: run.keep_usage(Usage(1), Usage()),
        "log.txt": lambda: run.open_log(),
        "best": lambda: run.write_best(world, state),
        "graphs": lambda: run.write_graphs(state),
    }
    with pytest.raises(UserError, match=f"{name} is a symbolic link"):
        writers[name]()
    run.close()
    assert mine.read_text() == "mine" and (folder / name).is_symlink()


def test_nobody_writes_once_the_lock_is_given_up(folder):
    """A thread of the judge whose call ends late, while another process may have resumed the run."""
    run = Run(folder)
    run.keep_judge_usage(JudgeUsage(1))
    run.keep_usage(Usage(1), Usage())
    go_on = threading.Event()

    def late():
        go_on.wait()
        run.keep_judge_usage(JudgeUsage(2))
        run.keep_usage(Usage(2), Usage())

    thread = threading.Thread(target=late)
    thread.start()
    run.close()
    with Run(folder):
        before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        go_on.set()
        thread.join()
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
        assert b'"calls": 1' in before["judge_usage.json"]


def test_work_that_was_done_after_the_state_was_written_counts(folder):
    run = Run(folder)
    state = run.load()
    assert run.with_kept_usage(state) == state
    (folder / "result.json").write_text('{"usage": {"generations": 70}}')
    counted = run.with_kept_usage(state)
    assert counted.final_usage.generations == 70 - state.usage.generations, "beyond the search's"
    run.keep_usage(Usage(30, 3, 3), Usage(5))
    counted = run.with_kept_usage(state)
    assert (counted.usage, counted.final_usage) == (Usage(30, 3, 3), Usage(5))
    run.forget_usage()
    (folder / "result.json").write_text('{"usage": 7}')
    with pytest.raises(UserError, match="result.json is damaged .*restore it, or delete it"):
        run.with_kept_usage(state)
    run.close()
