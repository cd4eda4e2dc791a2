"""How many requests of a step pair need no generation, against what the structure of the graphs allows."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from benchmarks import published
from benchmarks.measure import Goal, Row, exactly
from benchmarks.parts import InstantEngine, Requests, nameless_pool, random_matrices
from swarm.engines.base import GenerationParams
from swarm.maths.credit import draw_assignments
from swarm.maths.decode import decode
from swarm.system.prompts import Query
from swarm.system.system import System

SPECIFIED = {False: 48, True: 28}  # per cent on random graphs, n = N = M = 10 (specification, section 7)
PARAMS = GenerationParams(max_new_tokens=4)


@dataclass(frozen=True)
class Size:
    """How much of it: experts, graphs and assignments (n = N = M), draws of all of them, questions."""

    experts: int = 10
    seeds: int = 40
    questions: int = 2


SMALL = Size(experts=4, seeds=3, questions=1)


def rows(size: Size, repeats: int) -> list[Row]:
    """Shares saved, without and with a context in chunks; nothing is timed."""
    del repeats
    return [_row(size, chunked) for chunked in (False, True)]


def _row(size: Size, chunked: bool) -> Row:
    saved, possible = [], []
    for seed in range(size.seeds):
        pair = step_pair(size.experts, np.random.default_rng([seed, 0]))
        saved.append(saved_share(pair, questions(size, chunked)))
        possible.append(possible_share([system for step in pair for system in step], chunked))
    ours, limit = 100 * float(np.mean(saved)), 100 * float(np.mean(possible))
    n = size.experts
    return Row(
        "sharing: context in chunks" if chunked else "sharing",
        exactly(ours, "%"),
        floor=exactly(limit, "%"),
        goals=(Goal("within 1 point of the limit (floor)", lambda row: abs(ours - limit) <= 1),),
        note=(
            f"requests saved in a weight step and the next role step, n = N = M = {n}, mean of {size.seeds} draws of "
            f"random graphs, {100 * min(saved):.0f} to {100 * max(saved):.0f} %; floor: distinct sub-trees counted; "
            f"specification for n = 10: {SPECIFIED[chunked]} %"
        ),
    )


def step_pair(experts: int, rng: np.random.Generator) -> tuple[list[System], list[System]]:
    """The systems of a weight step (random assignments on one graph) and of the next role step (identity)."""
    pool = tuple(nameless_pool(experts).experts())
    graphs = [decode(matrix) for matrix in random_matrices(experts + 1, experts, rng)]
    assignments = draw_assignments(experts, experts, experts, rng)
    weight = [System(graphs[0], tuple(row), pool) for row in assignments.tolist()]
    return weight, [System(graph, tuple(range(experts)), pool) for graph in graphs[1:]]


def questions(size: Size, chunked: bool) -> list[Query]:
    """Questions that differ, each with a chunk of context for every place or without."""
    chunks = tuple(f"part {place}" for place in range(size.experts)) if chunked else ()
    return [Query(f"question {number}", chunks) for number in range(size.questions)]


def saved_share(pair: Iterable[list[System]], asked: list[Query]) -> float:
    """The share of the requests of these steps that never reach the engine."""
    engine, total = InstantEngine(), 0
    requests = Requests(engine)
    for systems in pair:
        requests.next_step()
        requests.answers([(system, asked) for system in systems], PARAMS)
        total += sum(len(system.graph) for system in systems) * len(asked)
    return 1 - engine.generated / total


def possible_share(systems: list[System], chunked: bool) -> float:
    """The share of the nodes of these systems whose text another one has already given.

    A text depends on the node's expert, on what the node reads, and on the texts of those that it listens to, in the
    order of their ids: that is, on the tree above the node with its experts. Nothing is run: trees are counted.
    """
    seen: dict[tuple[object, ...], int] = {}
    total = 0
    for system in systems:
        numbers: dict[int, int] = {}
        for position, node in enumerate(published.scan_order(system.graph)):
            earlier = tuple(numbers[source] for source in sorted(system.graph.predecessors(node)))
            form = (system.members[system.assignment[node]].digest, position if chunked else None, earlier)
            numbers[node] = seen.setdefault(form, len(seen))
            total += 1
    return 1 - len(seen) / total
