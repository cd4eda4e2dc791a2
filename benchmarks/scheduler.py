"""What it costs to bring requests to an engine that answers at once."""

from dataclasses import dataclass

import numpy as np

from benchmarks.measure import Row, below, interleaved, median_of
from benchmarks.parts import InstantEngine, Requests
from benchmarks.sharing import step_pair
from benchmarks.simulation.pace import Pace
from benchmarks.simulation.transport import SimulatedTransport
from swarm.engines.base import GenerationParams
from swarm.system.prompts import Query, node_prompt
from swarm.system.scheduler import Scheduler
from swarm.workers.worker_executor import WorkerExecutor

PARAMS = GenerationParams(max_new_tokens=80)
MANY = "the same requests, answered one by one in simulated time, nothing on disk; the simulation's own work is in it"


@dataclass(frozen=True)
class Size:
    """How much of it: experts, graphs and assignments (n = N = M), prompts, letters of a prompt."""

    experts: int = 10
    prompts: int = 200
    letters: int = 1500  # 400 to 500 tokens, as nlgraph's
    workers: int = 1024


SMALL = Size(experts=3, prompts=5, letters=50, workers=4)


def rows(size: Size, repeats: int) -> list[Row]:
    """Microseconds per request, those that are shared included; the floor only writes the prompts that differ."""
    pair = step_pair(size.experts, np.random.default_rng(0))
    queries = [Query(f"{number} ".ljust(size.letters, "?")) for number in range(size.prompts)]
    total = sum(len(system.graph) for systems in pair for system in systems) * len(queries)
    generated: list[int] = []
    calls: list[int] = []

    def ours() -> None:
        engine = InstantEngine()
        requests = Requests(engine)
        for systems in pair:
            requests.next_step()
            requests.answers([(system, queries) for system in systems], PARAMS)
        generated.append(engine.generated)
        calls.append(engine.calls)

    def floor() -> None:
        for number in range(generated[0]):
            node_prompt(queries[number % len(queries)], ("answer",) if number % 2 else ())

    def many() -> None:
        scheduler = Scheduler(WorkerExecutor(SimulatedTransport(size.workers, Pace(head=0.0))))
        for systems in pair:
            scheduler.cache.next_step()
            scheduler.answer_all([(system, queries) for system in systems], PARAMS)

    seconds = interleaved({"ours": ours, "floor": floor, "many": many}, repeats)
    return [
        Row(
            "scheduler",
            median_of(seconds["ours"], "µs", 1e6 / total),
            floor=median_of(seconds["floor"], "µs", 1e6 / total),
            goals=(below(50),),
            note=(
                f"per request; {total:,} requests of {size.letters} letters in two steps, n = N = M = {size.experts}, "
                f"{size.prompts} prompts, {generated[0]:,} reach the engine, in {calls[0]} calls about an expert each; "
                "floor: those prompts are written, no more"
            ),
        ),
        Row(f"scheduler: {size.workers:,} workers", median_of(seconds["many"], "µs", 1e6 / total), note=MANY),
    ]
