"""What no fused step can do without: reading its rows once, and the products of the inverse; alone, on any machine.

OMP_NUM_THREADS=1 python -m benchmarks.fusion_floor 20      # three models at V = 128k, so many repeats
"""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks.fusion_worlds import Members, sweep
from benchmarks.measure import Seconds, interleaved, median_of
from swarm.maths.inverse import adamw
from swarm.members.fusion.fused_step import FusedStep, StepResult
from swarm.members.fusion.row_table import stored_width

READING, INVERSE = "rows read once", "inverse alone"


def ways(step: FusedStep, steps: Sequence[Sequence[Tensor]], width: int) -> dict[str, Callable[[], object]]:
    """Seconds per step of each; rows are as many, as wide and stored as those that the step asks for."""
    results = [step(logits) for logits in steps]
    return {READING: _reading(results, width), INVERSE: _inverse(step, results, width)}


def _reading(results: Sequence[StepResult], width: int) -> Callable[[], object]:
    """Every row is read from memory once, eight bytes at a time, and nothing is done with it."""
    counts = [int(result.report.candidates.sum()) for result in results]
    table = torch.ones(max(counts), stored_width(width), dtype=torch.bfloat16).view(torch.int64)

    def way() -> Seconds:
        return Seconds(sum(_timed(partial(_read, table[:count])) for count in counts) / len(counts))

    return way


def _read(rows: Tensor) -> None:
    for row in rows:
        row.amax()


def _inverse(step: FusedStep, results: Sequence[StepResult], width: int) -> Callable[[], object]:
    """All updates, on the rows that move and the one that stands for the others."""
    most = max(result.candidates.shape[1] for result in results) + 1
    rng = torch.Generator().manual_seed(0)
    rows = torch.rand(1, most, width, generator=rng)
    rows /= rows.sum(-1, keepdim=True)
    logits, target = torch.randn(1, most, generator=rng), rows.mean(1)
    settings = step.settings

    def way() -> Seconds:
        rows.mul_(1)  # a step has just written them
        begun = time.perf_counter()
        adamw(logits, rows, target, settings.learning_rate, settings.updates)
        return Seconds(time.perf_counter() - begun)

    return way


def _timed(act: Callable[[], object]) -> float:
    sweep()
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def program(repeats: int) -> None:
    """Prints the lowest and the median of each way and of the warm step, in milliseconds."""
    members = Members.drawn([128_256] * 3, 109_000, 64, torch.bfloat16)  # D does not matter to rows that are known
    steps, step = members.steps(3), FusedStep(members.lazy(1 << 28), members.anchors)

    def warm() -> Seconds:
        return Seconds(sum(_timed(partial(step, logits)) for logits in steps) / len(steps))

    print(f"{torch.get_num_threads()} thread(s), three models, V = 128,256, d = 109,000, mean of {len(steps)} steps")
    for name, seconds in interleaved({"lazy warm": warm, **ways(step, steps, 109_000)}, repeats).items():
        print(f"{name}: lowest {1000 * min(seconds):.2f} ms, median {median_of(seconds, 'ms', 1000)}")


if __name__ == "__main__":
    program(int(sys.argv[1]))
