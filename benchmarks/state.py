"""What it costs to write a search's state after a step, and to read it again, early and late in a search."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Row, Seconds, below, check_equal, exactly, interleaved, median_of
from benchmarks.parts import FirstLetter, InstantEngine, Requests, config_for, nameless_pool, questions, write_step
from swarm.evolution.config import SearchConfig
from swarm.evolution.loop import Watcher
from swarm.evolution.numbers import numbers
from swarm.evolution.problem import Problem
from swarm.evolution.run_folder import STATE, create_run, open_run
from swarm.evolution.state import SearchState, first_state, state_to_json


@dataclass(frozen=True)
class Size:
    """How much of it: experts, graphs and assignments (n = N = M), iterations of the late state, questions."""

    experts: int = 10
    iterations: int = 200
    questions: int = 2


SMALL = Size(experts=3, iterations=3, questions=1)


@dataclass
class AtIterations(Watcher):
    """Keeps the states with which the first and the last iteration begin."""

    last: int
    early: SearchState | None = None
    late: SearchState | None = None

    def before(self, state: SearchState) -> None:
        """A step begins."""
        if state.next_step == "role" and state.iteration == 1:
            self.early = state
        if state.next_step == "role" and state.iteration == self.last:
            self.late = state


def rows(size: Size, repeats: int) -> list[Row]:
    """Milliseconds to write what a session writes, and to open the run and read the state; and the state's bytes."""
    config = config_for(size.experts, patience=10**6, max_iteration=size.iterations)
    requests = Requests(InstantEngine())
    problem = requests.problem(nameless_pool(size.experts), config, questions(size.questions), FirstLetter())
    kept = AtIterations(size.iterations)
    requests.search(problem, first_state(0), kept)
    assert kept.early is not None and kept.late is not None
    found = []
    for state, title in ((kept.early, "iteration 1"), (kept.late, f"iteration {size.iterations}")):
        found += _rows_of(state, title, problem, config, repeats)
    return found


def _rows_of(state: SearchState, title: str, problem: Problem, config: SearchConfig, repeats: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        run = create_run(Path(folder), config, {})
        for number in range(state.steps_done):  # what a session has written by then
            run.write_metrics(number, numbers(state))
        write_step(run, problem, state, state)
        run.close()
        path = run.folder

        def write() -> Seconds:
            opened, _ = open_run(path, {})
            begun = time.perf_counter()
            write_step(opened, problem, state, state)
            seconds = time.perf_counter() - begun
            opened.close()
            return Seconds(seconds)

        def resume() -> None:
            opened, _ = open_run(path, {})
            opened.forget_metrics_after(state.steps_done)
            loaded = opened.load()
            opened.close()
            assert loaded is not None
            read.append(loaded)

        read: list[SearchState] = []
        seconds = interleaved({"write": write, "resume": resume}, max(repeats, 3))
        size = (path / STATE).stat().st_size
    check_equal([state_to_json(state)], [state_to_json(read[-1])], f"state of {title}")
    n = config.graph_num
    about = f"n = N = M = {n}"
    return [
        Row(f"state: write at {title}", median_of(seconds["write"], "ms", 1e3), goals=(below(50),), note=about),
        Row(f"state: resume at {title}", median_of(seconds["resume"], "ms", 1e3), goals=(below(50),), note=about),
        Row(f"state: size at {title}", exactly(size / 1e3, "kB"), note=about),
    ]
