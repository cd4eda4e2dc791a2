"""Two worker processes against one, beside what two processes gain that know nothing of each other."""

import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import RLock

import numpy as np
import psutil
import torch
from tqdm import tqdm

from benchmarks.measure import Goal, Row, Seconds, check_equal, interleaved, median_of
from benchmarks.parts import EMBEDDED, SMALL_TASKS, completions, random_matrices
from swarm.engines.base import Finished, GenerationParams, Request
from swarm.engines.in_process import InProcessEngine
from swarm.engines.metered import Metered
from swarm.evals.data import limit, load_dataset
from swarm.maths.credit import draw_assignments
from swarm.maths.decode import decode
from swarm.system.messages import Query
from swarm.system.scheduler import Scheduler, Task
from swarm.system.system import System
from swarm.weights.pool import Pool, read_pool
from swarm.workers.crew import WorkerCrew
from swarm.workers.processes import Processes

SHARE, SERIAL = 90.0, 5.0  # per cent: of the gain that is to be reached, and of the time that the scheduler may take


@dataclass(frozen=True)
class Size:
    """How much of it: experts' folder, graphs and assignments (N = M), dev prompts, tokens of an answer."""

    experts: Path = EMBEDDED
    graphs: int = 6
    prompts: int = 120
    new_tokens: int = 8


SMALL = Size(graphs=2, prompts=4)


class Watched(Metered):
    """A crew that says how long it was waited for, and keeps the requests that it was asked."""

    def __init__(self, inner: WorkerCrew):
        super().__init__(inner)
        self.waited = 0.0
        self.requests: list[Request] = []

    def submit(self, worker: int, requests: Sequence[Request]) -> int:
        """Hands the batch on."""
        self.requests += requests
        return super().submit(worker, requests)

    def wait(self) -> list[tuple[int, Finished]]:
        """The inner crew's answers."""
        begun = time.perf_counter()
        try:
            return super().wait()
        finally:
            self.waited += time.perf_counter() - begun


@dataclass(frozen=True)
class Clocks:
    """Seconds on the clock, and on processors: of the scheduler's thread, of this process, and of all workers."""

    clock: float
    scheduler: float
    head: float
    workers: float

    @staticmethod
    def read(crew: WorkerCrew) -> "Clocks":
        """What they show now."""
        times = [psutil.Process(int(work.place.rsplit(" ", 1)[1])).cpu_times() for work in crew.work()]
        workers = sum(each.user + each.system for each in times)
        return Clocks(time.perf_counter(), time.thread_time(), time.process_time(), workers)


class Steps:
    """A role step and a weight step that workers do again and again, with nothing remembered."""

    def __init__(self, size: Size, pool: Pool):
        self.params = GenerationParams(size.new_tokens)
        rng, count = np.random.default_rng(0), len(pool.names)
        dataset = limit(load_dataset(str(SMALL_TASKS)), size.prompts)
        queries = [Query(dataset.headed(example.question)) for example in dataset.dev]
        graphs = [decode(matrix, rng=rng) for matrix in random_matrices(size.graphs, count, rng)]
        moved = pool.experts(rng.dirichlet(np.ones(count), size=count))
        straight = tuple(range(count))
        drawn = draw_assignments(size.graphs, count, count, rng)
        self.steps: list[list[Task]] = [
            [(System(graph, straight, tuple(pool.experts())), queries) for graph in graphs],
            [(System(graphs[0], tuple(row), tuple(moved)), queries) for row in drawn.tolist()],
        ]
        self.texts: dict[int, list[str]] = {}  # by number of workers
        self.requests: list[Request] = []
        # of two workers, in per cent of the time: on a processor, the scheduler and the whole process; on the clock
        self.serial: list[float] = []
        self.head: list[float] = []
        self.outside: list[float] = []

    def by(self, crew: WorkerCrew) -> Seconds:
        """Seconds that this crew takes."""
        watched, texts = Watched(crew), []
        before = Clocks.read(crew)
        for tasks in self.steps:
            texts += Scheduler(watched).answer_all(tasks, self.params)
        after = Clocks.read(crew)
        seconds = after.clock - before.clock
        self.texts[crew.workers] = [text for each in texts for text in each]
        self.requests = watched.requests
        if crew.workers > 1:
            scheduler, worker = after.scheduler - before.scheduler, (after.workers - before.workers) / crew.workers
            self.serial.append(100 * scheduler / (scheduler + worker))
            self.head.append(100 * (after.head - before.head) / (scheduler + worker))
            self.outside.append(100 * (1 - watched.waited / seconds))
        return Seconds(seconds)


def rows(size: Size, repeats: int) -> list[Row]:
    """The gain of a second worker against that of a second process, and the scheduler's share of the time."""
    pool = read_pool(size.experts)
    make = partial(InProcessEngine, pool, "cpu")
    steps = Steps(size, pool)
    with ExitStack() as opened:
        one, two = (opened.enter_context(closing(WorkerCrew(Processes([make] * count, threads=1)))) for count in (1, 2))
        steps.by(one)
        plain = [opened.enter_context(closing(Plain(make, steps.requests))) for _ in range(2)]
        ways = {
            "one": lambda: steps.by(one),
            "two": lambda: steps.by(two),
            "one plain": lambda: together(plain[:1]),
            "two plain": lambda: together(plain),
        }
        seconds = interleaved(ways, repeats)
    check_equal(steps.texts[2], steps.texts[1], "texts by two workers and by one")
    return _rows(size, steps, seconds)


def _rows(size: Size, steps: Steps, seconds: dict[str, list[float]]) -> list[Row]:
    gains = [one / two for one, two in zip(seconds["one"], seconds["two"], strict=True)]
    possible = [2 * one / two for one, two in zip(seconds["one plain"], seconds["two plain"], strict=True)]
    shares = [100 * ours / theirs for ours, theirs in zip(gains, possible, strict=True)]
    serial = median_of(steps.serial[-len(gains) :], "%")
    work = (
        f"n = {len(steps.steps[0][0][0].members)}, N = M = {size.graphs}, {size.prompts} prompts, "
        f"{len(steps.requests):,} requests reach the engines; texts equal; workers of one thread"
    )
    return [
        Row(
            "scale: two workers",
            median_of(shares, "%"),
            goals=(Goal(f"≥ {SHARE:g} %", lambda row: row.ours.value >= SHARE),),
            note=(
                f"of the gain of two plain processes in the same run: {statistics.median(gains):.2f} × of "
                f"{statistics.median(possible):.2f} ×; {work}"
            ),
        ),
        Row(
            "scale: scheduler",
            serial,
            goals=(Goal(f"< {SERIAL:g} %", lambda row: row.ours.value < SERIAL),),
            note=(
                "its processor time, of that and one worker's, which is the time where each has a core; the whole "
                f"process, with the threads that listen: {statistics.median(steps.head):.1f} %; on the clock of this "
                f"machine, outside waiting for workers: {statistics.median(steps.outside):.1f} %"
            ),
        ),
    ]


class Plain:
    """A process with an engine of its own that answers the same requests, all at once."""

    def __init__(self, make: "partial[InProcessEngine]", requests: Sequence[Request]):
        context = get_context("spawn")
        self.pipe, its = context.Pipe()
        self._process = context.Process(target=plain, args=(its, make, list(requests)), daemon=True)
        self._process.start()
        self.pipe.recv()

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.join()


def together(processes: Sequence[Plain]) -> None:
    """Has all of them answer side by side."""
    for process in processes:
        process.pipe.send("")
    for process in processes:
        process.pipe.recv()


def plain(pipe: Connection, make: "partial[InProcessEngine]", requests: list[Request]) -> None:
    """The inside of such a process: answers whenever it is told to."""
    torch.set_num_threads(1)
    tqdm.set_lock(RLock())  # else a semaphore is left behind when this is killed
    engine = make()
    pipe.send("")
    while True:
        pipe.recv()
        engine.expect([request.member for request in requests])
        completions(engine, requests)
        pipe.send("")
