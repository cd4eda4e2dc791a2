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
from tempfile import TemporaryDirectory
from threading import RLock

import numpy as np
import psutil
import torch
from tqdm import tqdm

from benchmarks import materialise
from benchmarks.card_world import SHAPES, Shape, make_world, questions
from benchmarks.measure import Goal, Row, Seconds, check_equal, interleaved, median_of
from benchmarks.parts import completions, random_matrices
from swarm.engines.base import Finished, GenerationParams, Request
from swarm.engines.executor import IdleWorker
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.engines.metered import Metered
from swarm.maths.credit import draw_assignments
from swarm.maths.decode import decode
from swarm.system.prompts import Query
from swarm.system.scheduler import Scheduler, Task
from swarm.system.system import System
from swarm.weights.pool import Pool, read_pool
from swarm.workers.processes import Processes
from swarm.workers.worker_executor import WorkerExecutor

SHARE, SERIAL = 90.0, 5.0  # per cent: of the gain that is to be reached, and of the time that the scheduler may take


SHAPE = Shape(
    model={"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4,
           "num_key_value_heads": 4, "head_dim": 32, "vocab_size": 500},
    experts=materialise.Size(experts=6, layers=4, width=128, heads=128, rank=8), dtype="float32", prompts=24,
    lengths=(40, 80), new_tokens=16, graphs=6,
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How much of it: a model that takes some milliseconds per request, its experts, prompts, and graphs (N = M)."""

    shape: Shape = SHAPE


SMALL = Size(SHAPES["tiny"])


class Watched(Metered):
    """The first workers of an executor; measures the waits for them, and keeps the requests that they were asked."""

    def __init__(self, inner: WorkerExecutor, workers: int):
        super().__init__(inner)
        self.workers = workers
        self.waited = 0.0
        self.requests: list[Request] = []

    def free(self) -> list[IdleWorker]:
        """Those of them that have nothing to do."""
        return [idle for idle in super().free() if idle.worker < self.workers]

    def submit(self, worker: int, requests: Sequence[Request]) -> int:
        """Hands the batch on."""
        self.requests += requests
        return super().submit(worker, requests)

    def wait(self) -> list[tuple[int, Finished]]:
        """The inner executor's answers."""
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
    def read(executor: WorkerExecutor) -> "Clocks":
        """What they show now."""
        times = [psutil.Process(int(work.location.rsplit(" ", 1)[1])).cpu_times() for work in executor.work()]
        workers = sum(each.user + each.system for each in times)
        return Clocks(time.perf_counter(), time.thread_time(), time.process_time(), workers)


class Steps:
    """A role step and a weight step that workers do again and again, with nothing remembered."""

    def __init__(self, shape: Shape, pool: Pool):
        self.params = GenerationParams(shape.new_tokens)
        rng, count = np.random.default_rng(0), len(pool.names)
        queries = [Query(example.question) for example in questions(shape).dev]
        graphs = [decode(matrix, rng=rng) for matrix in random_matrices(shape.graphs, count, rng)]
        moved = pool.experts(rng.dirichlet(np.ones(count), size=count))
        straight = tuple(range(count))
        drawn = draw_assignments(shape.graphs, count, count, rng)
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

    def by(self, executor: WorkerExecutor, workers: int) -> Seconds:
        """Seconds that so many workers of an executor take."""
        watched, texts = Watched(executor, workers), []
        before = Clocks.read(executor)
        for tasks in self.steps:
            texts += Scheduler(watched).answer_all(tasks, self.params)
        after = Clocks.read(executor)
        seconds = after.clock - before.clock
        self.texts[workers] = [text for each in texts for text in each]
        self.requests = watched.requests
        if workers > 1:
            scheduler, worker = after.scheduler - before.scheduler, (after.workers - before.workers) / workers
            self.serial.append(100 * scheduler / (scheduler + worker))
            self.head.append(100 * (after.head - before.head) / (scheduler + worker))
            self.outside.append(100 * (1 - watched.waited / seconds))
        return Seconds(seconds)


def rows(size: Size, repeats: int) -> list[Row]:
    """The gain of a second worker against that of a second process, and the scheduler's share of the time."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(TemporaryDirectory()))
        make_world(folder, size.shape, "cpu")
        pool = read_pool(folder / "experts")
        make, steps = partial(InProcessEngine, pool, "cpu"), Steps(size.shape, pool)
        executor = opened.enter_context(closing(WorkerExecutor(Processes([make] * 2, threads=1))))
        steps.by(executor, 2)
        plain = [opened.enter_context(closing(Plain(make, steps.requests))) for _ in range(2)]
        ways = {
            "one": lambda: steps.by(executor, 1),
            "two": lambda: steps.by(executor, 2),
            "one plain": lambda: together(plain[:1]),
            "two plain": lambda: together(plain),
        }
        seconds = interleaved(ways, repeats)
    check_equal(steps.texts[2], steps.texts[1], "texts by two workers and by one")
    return _rows(size.shape, steps, seconds)


def _rows(shape: Shape, steps: Steps, seconds: dict[str, list[float]]) -> list[Row]:
    gains = [one / two for one, two in zip(seconds["one"], seconds["two"], strict=True)]
    possible = [2 * one / two for one, two in zip(seconds["one plain"], seconds["two plain"], strict=True)]
    shares = [100 * ours / theirs for ours, theirs in zip(gains, possible, strict=True)]
    serial = median_of(steps.serial[-len(gains) :], "%")
    count = len(steps.requests)
    work = (
        f"n = {shape.experts.experts}, N = M = {shape.graphs}, {shape.prompts} prompts; {count:,} requests reach the "
        f"engines, {1000 * statistics.median(seconds['one']) / count:.1f} ms each; texts equal; workers of one thread"
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
