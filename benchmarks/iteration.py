"""One whole iteration of a search on the embedded experts, against the published procedure on the same systems."""

import gc
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks import published
from benchmarks.forwards import bare_forwards, forward_flops
from benchmarks.machine import matmul_rate
from benchmarks.measure import Row, Seconds, check_equal, exactly, floor_at_most, interleaved, median_of, ratio_at_least
from benchmarks.parts import (
    EMBEDDED,
    SMALL_TASKS,
    NotingExactMatch,
    NotingFitness,
    Requests,
    config_for,
    materialised,
    resident_model,
    step,
    write_step,
)
from swarm.data.load import limit, load_dataset
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.evolution.run_folder import create_run
from swarm.evolution.state import SearchState, first_state
from swarm.maths import pso
from swarm.system.prompts import Query
from swarm.system.system import System
from swarm.text.answers import gives_answer
from swarm.weights.adapters import write_adapter
from swarm.weights.pool import Pool, read_pool


@dataclass(frozen=True)
class Size:
    """How much of it: experts' folder, graphs and assignments (N = M), dev prompts."""

    experts: Path = EMBEDDED
    graphs: int = 6
    prompts: int = 60


SMALL = Size(graphs=2, prompts=2)


class Iteration:
    """An iteration that can be run again and again from the state after the start."""

    def __init__(self, size: Size):
        self.pool = read_pool(size.experts)
        self.engine = InProcessEngine(self.pool, device="cpu")
        self.dataset = limit(load_dataset(str(SMALL_TASKS)), size.prompts)
        self.config = config_for(size.graphs)
        self.texts: list[list[str]] = []
        self.systems: list[System] = []
        requests = Requests(self.engine)
        problem = requests.problem(self.pool, self.config, self.dataset, NotingExactMatch())
        self.start = step(problem, requests, step(problem, requests, first_state(self.config.seed)))

    def ours(self) -> Seconds:
        """Role step and weight step with nothing remembered or made, the state written after each; without the run."""
        evaluation = NotingExactMatch()
        requests = Requests(self.engine)
        problem = requests.problem(self.pool, self.config, self.dataset, evaluation, NotingFitness)
        self._forget()
        with tempfile.TemporaryDirectory() as folder:
            run = create_run(Path(folder), self.config, {})
            frozen = gc.get_freeze_count()
            gc.freeze()  # as our programs do once the model is there
            state, begun = self.start, time.perf_counter()
            for _ in ("role", "weight"):
                before, state = state, step(problem, requests, state)
                write_step(run, problem, before, state)
            seconds = time.perf_counter() - begun
            if not frozen:
                gc.unfreeze()
            run.close()
        assert isinstance(problem.fitness, NotingFitness)
        self.texts, self.systems = evaluation.texts, problem.fitness.systems
        return Seconds(seconds)

    def _forget(self) -> None:
        """Leaves the engine with other experts than this iteration's, as the steps before it would, and no more."""
        self.engine.known_prompts.clear()
        gives_answer.cache_clear()
        count = len(self.pool.names)
        for rows in np.random.default_rng(0).dirichlet(np.ones(count), size=(2, count)):
            experts = self.pool.experts(rows)
            self.engine.expect(experts)
            for expert in experts:
                self.engine.load(expert)

    def reference(self) -> Seconds:
        """The same systems by the published procedure; the seconds without laying out the folders."""
        params = NotingExactMatch().params(self.dataset)
        queries = [Query(self.dataset.headed(example.question)) for example in self.dataset.dev]
        with tempfile.TemporaryDirectory() as folder:
            models, base = Path(folder), self.pool.base
            lay_out(models, self.pool, self.start)
            moves = moves_of(self.config.move_coefficients, self.start)
            graphs = [placed(models, system) for system in self.systems]
            begun = time.perf_counter()
            texts = [published.answers(base, graph, queries, params) for graph in graphs[: self.config.graph_num]]
            for index, move in enumerate(moves):
                published.move_expert(models / f"model_{index}", models / "global_best", models / "global_worst", move)
            texts += [published.answers(base, graph, queries, params) for graph in graphs[self.config.graph_num :]]
            seconds = time.perf_counter() - begun
        check_equal(flat(self.texts), flat(texts), "texts of the iteration's systems")
        return Seconds(seconds)


def rows(size: Size, repeats: int) -> list[Row]:
    """The iteration against the reference and the bare forward calls; and against the rate of matrix products."""
    iteration = Iteration(size)
    model = resident_model(iteration.engine)
    ways: dict[str, Callable[[], object]] = {
        "ours": iteration.ours,
        "floor": lambda: Seconds(bare_forwards(model, iteration.ours).seconds),
        "reference": iteration.reference,
    }
    seconds = interleaved(ways, repeats)
    bare, flops = bare_forwards(model, iteration.ours), forward_flops(model, iteration.ours)
    ours, rate = median_of(seconds["ours"], "s"), matmul_rate()
    texts = len(flat(iteration.texts))
    about = (
        f"n = {len(iteration.pool.names)}, N = M = {size.graphs}, {size.prompts} prompts; {texts} texts equal; "
        f"{torch.get_num_threads()} thread(s); floor: the {bare.calls} forward calls of {bare.tokens:,} tokens alone"
    )
    return [
        Row(
            "iteration",
            ours,
            median_of(seconds["reference"], "s"),
            median_of(seconds["floor"], "s"),
            (ratio_at_least(10), floor_at_most(1.5)),
            about,
        ),
        Row(
            "iteration: matrix rate",
            ours,
            floor=exactly(flops / rate, "s"),
            note=f"{flops / 1e9:,.1f} GFLOP of those calls at {rate / 1e9:,.0f} GFLOP/s of a large matrix product",
        ),
    ]


def lay_out(models: Path, pool: Pool, state: SearchState) -> None:
    """The expert swarm of a state as the published program keeps it: adapters in folders."""
    swarm = state.experts
    assert swarm is not None
    vectors = {"global_best": swarm.global_best, "global_worst": swarm.global_worst}
    for index in range(len(swarm.positions)):
        vectors[f"model_{index}/now"] = swarm.positions[index]
        vectors[f"model_{index}/velocity"] = swarm.velocities[index]
        vectors[f"model_{index}/personal_best"] = swarm.personal_bests[index]
    for name, vector in vectors.items():
        [weights] = materialised(pool, vector[None])
        write_adapter(models / name, weights, pool.base, pool.revision)


def moves_of(coefficients: pso.MoveCoefficients, state: SearchState) -> list[published.Move]:
    """How the next weight step moves every expert, drawn as it draws; nobody restarts so early."""
    swarm, rng = state.experts, state.generator("experts")
    assert swarm is not None
    return [
        published.Move(tuple(pso.draw_term_weights(coefficients, rng).tolist()), swarm.step_length)
        for _ in swarm.positions
    ]


def placed(models: Path, system: System) -> published.Placed:
    """A system's graph with the folders of its experts as they now are."""
    return published.Placed(system.graph, tuple(models / f"model_{index}" / "now" for index in system.assignment))


def flat(texts: list[list[str]]) -> list[str]:
    """All systems' texts in one list."""
    return [text for each in texts for text in each]
