"""One prompt to one expert, against every expert alone and against asking all of them: quality, cost, latency, memory.

The pair model and the fuser have random weights (`benchmarks/routing_models.py`): their costs count, their quality is
that of chance.
"""

import gc
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.forwards import all_flops
from benchmarks.measure import Row, below, exactly, interleaved, median_of, ratio_at_least, short
from benchmarks.routing_memory import peak_of
from benchmarks.routing_ways import FUSED, RANKED, READERS, ROUTED, Answered, Routed, Way, World
from swarm.maths.interval import estimate

MILLION = 1e6
LIMIT = 5  # milliseconds of a decision


@dataclass(frozen=True)
class Size:
    """How much of it.

    Attributes:
      prompts: test questions whose answers are scored and whose operations are counted.
      timed: of these, how many are answered one at a time.
      turn: prompts that a way answers in a row before the next way's turn.
      memory: whether every way is run in a process of its own, or the last one only.
    """

    prompts: int = 600
    timed: int = 60
    turn: int = 10
    memory: bool = True


SMALL = Size(prompts=6, timed=2, turn=2, memory=False)


@dataclass(frozen=True)
class Counted:
    """What was counted of a way, on all prompts together."""

    answered: Answered
    flops: float
    estimate: float


def rows(size: Size, repeats: int) -> list[Row]:
    """A row for every way, and one for a decision of every router."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), size.prompts)
        world.prepare()
        prompts = world.prompts(world.dataset.test)
        ways = {name: world.way(name) for name in world.ways}
        found = {name: counted(way, prompts) for name, way in ways.items()}
        seconds = latencies(ways, prompts[: size.timed], repeats, size.turn)
        several = [world.pool.names[0], *world.ways[len(world.experts) :]] if size.memory else [FUSED]
        peaks = {name: peak_of(name, world.folder, size.timed) for name in several}
        everybody = exactly(found[RANKED].flops / len(prompts) / MILLION, "MFLOP")
        table = []
        for name in ways:
            flops = exactly(found[name].flops / len(prompts) / MILLION, "MFLOP")
            goals = (ratio_at_least(4),) if isinstance(ways[name], Routed) else ()
            right = world.right(found[name].answered.texts)
            note = note_of(found[name], found[RANKED], right, seconds[name], peaks.get(name))
            table.append(Row(f"routing: {name}", flops, None if name == RANKED else everybody, None, goals, note))
        return table + decisions({kind: ways[ROUTED.format(kind)] for kind in READERS}, prompts, repeats)


def counted(way: Way, prompts: Sequence[str]) -> Counted:
    """A way's answers to all prompts at once, and what they cost; a classifier outside of torch is added to both."""
    kept: list[Answered] = []
    flops = all_flops(lambda: kept.append(way.answer(prompts)))
    beside = way.classifying(prompts) if isinstance(way, Routed) else 0.0
    return Counted(kept[0], flops + beside, kept[0].estimate + beside)


def latencies(ways: Mapping[str, Way], prompts: Sequence[str], repeats: int, turn: int) -> dict[str, np.ndarray]:
    """Seconds per prompt (P,), each by itself: of every prompt the median of its repeats, so that a busy spell of the
    machine, which meets all ways alike, is not taken for a slow prompt.

    Ways take turns of some prompts. Before its turn each answers a prompt that does not count, so that nobody pays for
    the expert that another way has left in place.
    """
    names = list(ways)
    seconds = {name: np.zeros((repeats, len(prompts))) for name in names}
    for repeat in range(repeats):
        for start in range(0, len(prompts), turn):
            first = (repeat + start // turn) % len(names)
            gc.collect()
            for name in names[first:] + names[:first]:
                ways[name].answer([prompts[start - 1]])
                for place in range(start, min(start + turn, len(prompts))):
                    begun = time.perf_counter()
                    ways[name].answer([prompts[place]])
                    seconds[name][repeat, place] = time.perf_counter() - begun
    return {name: np.median(each, axis=0) for name, each in seconds.items()}


def note_of(found: Counted, everybody: Counted, right: np.ndarray, seconds: np.ndarray, peak: float | None) -> str:
    """What is known of a way beside the operations that were counted."""
    quality, size = estimate(right), len(right)
    middle, late = 1000 * np.percentile(seconds, (50, 95))
    parts = [
        f"quality {quality.mean:.3f} [{quality.low:.3f}, {quality.high:.3f}]",
        f"2·N·T {found.estimate / size / MILLION:.2f} MFLOP ({short(everybody.estimate / found.estimate)} ×)",
        f"{found.answered.read / size:.1f} tokens read, {found.answered.written / size:.1f} written",
        f"p50 {short(middle)} ms, p95 {short(late)} ms",
    ]
    return "; ".join(parts if peak is None else [*parts, f"peak {peak:,.0f} MiB"])


def decisions(routers: Mapping[str, Way], prompts: Sequence[str], repeats: int) -> list[Row]:
    """Who is asked, for all prompts at once."""
    ways: dict[str, Callable[[], object]] = {}
    for kind, way in routers.items():
        assert isinstance(way, Routed)
        ways[kind] = lambda way=way: way.choose(prompts)  # type: ignore[misc]
    seconds = interleaved(ways, repeats)
    return [
        Row(
            f"routing: decision, {kind}",
            median_of(seconds[kind], "ms", 1000 / len(prompts)),
            goals=(below(LIMIT),),
            note=f"per prompt, {len(prompts)} at once",
        )
        for kind in ways
    ]
