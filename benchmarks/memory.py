"""Resident memory of a search: its peak, and whether it grows from iteration to iteration.

Each search runs in a process of its own: python -m benchmarks.memory real 10 60
"""

import ctypes
import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Goal, Row, exactly
from benchmarks.parts import (
    EMBEDDED,
    ROOT,
    SMALL_TASKS,
    FirstLetter,
    InstantEngine,
    Requests,
    config_for,
    nameless_pool,
    questions,
)
from swarm.data.load import limit, load_dataset
from swarm.engines.base import Engine
from swarm.engines.executor import Executor
from swarm.evals.eval import Eval
from swarm.evals.exact_match import ExactMatch
from swarm.evolution.loop import Watcher
from swarm.evolution.run_folder import Run, create_run
from swarm.evolution.state import SearchState, first_state
from swarm.weights.pool import read_pool
from swarm.workers.processes import Processes
from swarm.workers.worker_executor import WorkerExecutor

MARKS = (0.1, 0.5, 1.0)  # parts of the search after which memory is read: 5, 25 and 50 of 50 iterations


@dataclass(frozen=True)
class Size:
    """How much of it: iterations and prompts of a search with the embedded experts, a scripted one, one by workers."""

    real: tuple[int, int] = (50, 60)
    scripted: tuple[int, int] = (50, 60)
    workers: tuple[int, int] = (50, 60)


SMALL = Size(real=(2, 4), scripted=(5, 2), workers=(5, 2))


def rows(size: Size, repeats: int) -> list[Row]:
    """Peak and growth of all searches, each run once."""
    del repeats
    found = []
    for kind, (iterations, prompts) in (("real", size.real), ("scripted", size.scripted), ("workers", size.workers)):
        command = [sys.executable, "-m", "benchmarks.memory", kind, str(iterations), str(prompts)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
        found += _rows_of(kind, prompts, json.loads(done.stdout))
    return found


def _rows_of(kind: str, prompts: int, record: dict[str, Any]) -> list[Row]:
    iterations = record["iterations"]
    at_once = "engine that answers at once, n = N = M = 10"
    what = {
        "real": "embedded experts, n = N = M = 6",
        "scripted": at_once,
        "workers": f"head of two workers, {at_once}",
    }[kind]
    about = f"{what}, {prompts} prompts"
    return [
        Row(
            f"memory: peak, {kind}",
            exactly(record["peak"], "MiB"),
            note=f"{about}; {record['idle']:,.0f} MiB before the search",
        ),
        _growth(f"memory: growth in use, {kind}", iterations, record["in_use"]),
        _growth(f"memory: growth, {kind}", iterations, record["resident"]),
    ]


def _growth(name: str, iterations: list[int], mib: list[float]) -> Row:
    """Between the last two marks: buffers have their largest size only when the largest batch so far has been there."""
    per_mark = ", ".join(f"{value:,.1f} MiB after {mark}" for mark, value in zip(iterations, mib, strict=True))
    goal = Goal("no growth (< 2 MiB)", lambda row: row.ours.value < 2)
    return Row(
        name,
        exactly(mib[-1] - mib[-2], "MiB"),
        goals=(goal,),
        note=f"iteration {iterations[-2]} to {iterations[-1]}: {per_mark}",
    )


class Reader(Watcher):
    """Writes each state, and reads this process's memory after some iterations."""

    def __init__(self, run: Run, iterations: list[int]):
        self.run = run
        self.iterations = iterations
        self.resident: list[float] = []
        self.in_use: list[float] = []

    def after(self, before: SearchState, state: SearchState) -> None:
        """A step is done."""
        self.run.save(state)
        if before.next_step == "weight" and before.iteration in self.iterations:
            self.resident.append(resident())
            self.in_use.append(in_use())


def resident() -> float:
    """MiB that this process holds in memory now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


class _Heap(ctypes.Structure):
    """glibc's mallinfo2."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"
    )]  # fmt: skip


def in_use() -> float:
    """MiB that this process has asked of the C library and not given back (glibc), without holes between them."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Heap
    heap = mallinfo()
    return float(heap.uordblks + heap.hblkhd) / 2**20


def peak() -> float:
    """MiB that it has held at most (Linux; getrusage would count the process that has started this one too)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def probe(kind: str, iterations: int, prompts: int) -> dict[str, Any]:
    """One search in this process: MiB before it, at its marks, and at its peak."""
    if kind == "real":
        from swarm.engines.local.transformers_engine import InProcessEngine

        pool = read_pool(EMBEDDED)
        engine: Engine | Executor = InProcessEngine(pool, device="cpu")
        evaluation: Eval = ExactMatch()
        dataset, size = limit(load_dataset(str(SMALL_TASKS)), prompts), 6
    else:
        pool = nameless_pool(10)
        engine = InstantEngine() if kind == "scripted" else WorkerExecutor(Processes([InstantEngine] * 2))
        dataset, evaluation, size = questions(prompts), FirstLetter(), 10
    config = config_for(size, max_iteration=iterations, patience=10**6)
    requests = Requests(engine)
    problem = requests.problem(pool, config, dataset, evaluation)
    idle = resident()
    with tempfile.TemporaryDirectory() as folder:
        run = create_run(Path(folder), config, {})
        reader = Reader(run, sorted({max(1, round(part * iterations)) for part in MARKS}))
        requests.search(problem, first_state(0), reader)
        run.close()
    if isinstance(engine, Executor):
        engine.close()
    marks = {"iterations": reader.iterations, "resident": reader.resident, "in_use": reader.in_use}
    return {"idle": idle, "peak": peak()} | marks


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
