"""Our own parts put together as a search does it: each in one place, so that all benchmarks measure the same thing."""

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from swarm.data.example import Dataset, Example
from swarm.engines.base import Completion, Engine, Finished, GenerationParams, Member, Request
from swarm.engines.cache.completion_cache import CompletionCache
from swarm.engines.cache.disk_cache import DiskCache
from swarm.engines.executor import Executor
from swarm.engines.metered import Budget, Metered
from swarm.evals.eval import Eval, Judgement, Judging
from swarm.evals.exact_match import ExactMatch
from swarm.evolution.checked_config import make_config
from swarm.evolution.config import SearchConfig
from swarm.evolution.fitness import Fitness
from swarm.evolution.loop import Watcher, search
from swarm.evolution.numbers import numbers
from swarm.evolution.problem import Problem
from swarm.evolution.run_folder import Run
from swarm.evolution.state import SearchState
from swarm.evolution.steps import STEPS
from swarm.members.members import Members
from swarm.system.prompts import Query
from swarm.system.scheduler import Scheduler, Task
from swarm.system.system import System
from swarm.weights.adapters import Adapter
from swarm.weights.materialise import materialise, materialise_all
from swarm.weights.pool import Pool

ROOT = Path(__file__).resolve().parents[1]
EMBEDDED = ROOT / "data/embedded/experts"
SMALL_TASKS = ROOT / "data/eval/graph_tasks_small.json"

# what nlgraph.sh uses on the embedded experts
SETTINGS = {
    "eval_type": "exact_match",
    "dataset": "benchmark",
    "seed": 0,
    "inertia": 0.3,
    "cognitive_coeff": 0.3,
    "social_coeff": 0.3,
    "repel_coeff": 0.05,
    "repel_term": True,
    "step_length": 0.3,
}


class InstantEngine:
    """Answers at once with a text that depends on all of the request's content.

    Attributes:
      generated: requests that have reached it.
      calls: how often it was asked, each time about one expert.
    """

    def __init__(self) -> None:
        self.generated = self.calls = 0

    def facts(self) -> dict[str, str]:
        """Its name."""
        return {"engine": "instant"}

    def expect(self, members: Sequence[Member]) -> None:
        """Nothing is prepared."""

    def generate(self, requests: Sequence[Request]) -> Iterator[Finished]:
        """Answers all in one batch."""
        self.generated += len(requests)
        self.calls += 1
        contents = (f"{request.member.digest} {request.prompt}" for request in requests)
        texts = [hashlib.blake2b(content.encode(), digest_size=8).hexdigest() for content in contents]
        yield [(index, Completion(text, 1, 1)) for index, text in enumerate(texts)]


class Requests:
    """What stands between a search and its engine, as a session puts it together.

    Its memory is empty at first, and so is its cache on disk, which goes when this does.
    """

    def __init__(self, engine: Engine | Executor):
        folder = tempfile.mkdtemp()
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        disk = DiskCache(Path(folder) / "answers.sqlite", SearchConfig.cache_size * 1_000_000)
        self.meter = Metered(engine)
        self.scheduler = Scheduler(self.meter, CompletionCache(engine.facts(), disk))

    def next_step(self) -> None:
        """A step begins."""
        self.scheduler.cache.next_step()

    def answers(self, tasks: Sequence[Task], params: GenerationParams) -> list[list[str]]:
        """Every task's texts."""
        return self.scheduler.answer_all(tasks, params)

    def problem(
        self, pool: Pool, config: SearchConfig, dataset: Dataset, evaluation: Eval, kind: type[Fitness] = Fitness
    ) -> Problem:
        """A search on the dev questions."""
        fitness = kind(self.scheduler, evaluation, dataset, evaluation.params(dataset), config.scorer)
        return Problem(config, Members(pool), fitness)

    def search(self, problem: Problem, state: SearchState, watcher: Watcher) -> SearchState:
        """The search from a state to its end."""
        return search(problem, state, self.meter, watcher, Budget())


@dataclass(frozen=True)
class NotingFitness(Fitness):
    """A fitness that keeps the systems which it was asked about, in order."""

    systems: list[System] = field(default_factory=list)

    def judge(
        self, systems: Sequence[System], examples: Sequence[Example], ahead: Sequence[System] = ()
    ) -> list[Judgement]:
        """Their scores."""
        self.systems.extend(systems)
        return super().judge(systems, examples, ahead)


class NotingExactMatch(ExactMatch):
    """An exact match that keeps the texts which it scored, system by system."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[list[str]] = []

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """One pass, as exact match has it."""
        judging = super().judge(dataset, examples)
        texts = yield next(judging)
        self.texts.append(texts)
        try:
            judging.send(texts)
        except StopIteration as finished:
            judgement: Judgement = finished.value
            return judgement
        raise AssertionError("exact match has one pass")


def completions(engine: Engine, requests: Sequence[Request]) -> list[Completion]:
    """What an engine answers to every request, in their order."""
    found = {index: completion for finished in engine.generate(requests) for index, completion in finished}
    return [found[index] for index in range(len(requests))]


class FirstLetter(Eval):
    """Scores a text by its first character, so that scores differ without any sense."""

    name = "first_letter"

    def params(self, dataset: Dataset) -> GenerationParams:
        """As few tokens as one answer takes."""
        return GenerationParams(max_new_tokens=4)

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """One pass."""
        texts = yield [Query(example.question) for example in examples]
        return {"strict": np.array([ord(text[0]) / 0x110000 for text in texts])}


def questions(count: int) -> Dataset:
    """Questions for an engine that does not read them."""
    split = tuple(Example(f"question {number}", "") for number in range(count))
    return Dataset("questions", split, split)


def config_for(size: int, **settings: Any) -> SearchConfig:
    """The settings of a search with as many graphs and assignments as `size`."""
    return make_config(SETTINGS | {"graph_num": size, "trial_num": size} | settings)


def step(problem: Problem, requests: Requests, state: SearchState) -> SearchState:
    """The next step, in a memory of two steps."""
    requests.next_step()
    return STEPS[state.next_step](problem, state)


def write_step(run: Run, problem: Problem, before: SearchState, state: SearchState) -> None:
    """What a session writes after a step."""
    run.write_metrics(state.steps_done, {"title": before.title} | numbers(state))
    run.save(state)
    run.write_scratchpad(state)
    if state.best is not before.best:
        run.write_best(problem, state)


def materialised(pool: Pool, rows: np.ndarray) -> list[Any]:
    """The weights of the experts at these rows of coefficients."""
    if pool.models:
        return [materialise(pool, row.tolist()) for row in rows]
    return list(materialise_all(pool, rows.tolist()))


def nameless_pool(count: int) -> Pool:
    """A pool whose adapters have digests and no weights."""
    adapters = tuple(Adapter(f"expert_{i}", Path(f"expert_{i}"), {}, {}, f"digest {i}") for i in range(count))
    return Pool(adapters, base="none")


def random_matrices(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Continuous graphs as a search draws its first ones, shape (count, size, size)."""
    return rng.uniform(size=(count, size, size)) * (1 - np.eye(size))


def resident_model(engine: Any) -> Any:
    """The model that an in-process engine keeps."""
    return engine.decoder.model


@contextmanager
def threads_as_before(one: bool) -> Iterator[None]:
    """Runs a block with one thread or as many as there are, and gives torch its threads back."""
    before = torch.get_num_threads()
    try:
        if one:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)
