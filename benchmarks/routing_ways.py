"""The ways to get an answer from six experts: one alone, the one a router picks, all and a ranker, all and a fuser."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.parts import EMBEDDED, SMALL_TASKS, completions
from benchmarks.routing_models import TOP, Fuser, Ranker, make_models
from swarm.data.example import Dataset, Example
from swarm.data.load import limit, load_dataset
from swarm.engines.base import GenerationParams, Request
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.evals.exact_match import ExactMatch
from swarm.evolution.fitness import Fitness
from swarm.members.routing.features import feature_settings
from swarm.members.routing.fit import RouterSettings, fit_router
from swarm.members.routing.router import Router
from swarm.members.routing.router_artefact import load_router, save_router
from swarm.members.routing.routing_engine import language_model_of
from swarm.system.prompts import Query, node_prompt, tidy_answer
from swarm.system.scheduler import Scheduler
from swarm.system.system import single
from swarm.weights.pool import Expert, Pool, read_pool

READERS = ("tfidf", "hidden")  # features of the routers
ROUTED, RANKED, FUSED = "router, {}", "all members + ranker", "ranker + fuser"


@dataclass(frozen=True)
class Answered:
    """What a way has answered to some prompts.

    Attributes:
      read, written: tokens, of all models together.
      estimate: floating-point operations as 2 · parameters · tokens.
    """

    texts: list[str]
    read: int
    written: int
    estimate: float


class Way(Protocol):
    """Answers prompts."""

    def answer(self, prompts: Sequence[str]) -> Answered:
        """One text per prompt."""


class World:
    """The experts' engine, the questions, and the folder in which routers, ranker and fuser lie."""

    def __init__(self, folder: Path, prompts: int | None = None):
        self.folder = folder
        self.pool: Pool = read_pool(EMBEDDED)
        self.experts: list[Expert] = self.pool.experts()
        self.engine = InProcessEngine(self.pool, device="cpu")
        self.evaluation = ExactMatch()
        self.dataset: Dataset = limit(load_dataset(str(SMALL_TASKS)), None, prompts)
        self.params: GenerationParams = self.evaluation.params(self.dataset)

    def prompts(self, examples: Sequence[Example]) -> list[str]:
        """As the members are asked, and as routers read."""
        return [node_prompt(Query(self.dataset.headed(example.question)), []) for example in examples]

    def asked(self, members: Sequence[Expert], prompts: Sequence[str]) -> Answered:
        """Each prompt by its own member."""
        self.engine.expect(list(dict.fromkeys(members)))
        requests = [Request(*pair, self.params) for pair in zip(members, prompts, strict=True)]
        found = completions(self.engine, requests)
        read, written = sum(each.prompt_tokens for each in found), sum(each.new_tokens for each in found)
        estimate = 2.0 * self.parameters * (read + written)
        return Answered([tidy_answer(each.text) for each in found], read, written, estimate)

    @property
    def parameters(self) -> int:
        """Of the base, into which an expert is folded."""
        return int(self.engine.model.num_parameters())

    def right(self, texts: list[str]) -> np.ndarray:
        """1 for every test question that is answered rightly."""
        judging = self.evaluation.judge(self.dataset, self.dataset.test)
        next(judging)
        try:
            judging.send(texts)
        except StopIteration as finished:
            return np.asarray(finished.value["strict"], dtype=np.float64)
        raise AssertionError("exact match has one pass")

    def prepare(self) -> None:
        """Fits the routers on the dev questions, makes ranker and fuser, and writes all into the folder."""
        make_models(self.folder, Path(self.pool.base))
        dev, prompts = self.dataset.dev, self.prompts(self.dataset.dev)
        fitness = Fitness(Scheduler(self.engine), self.evaluation, self.dataset, self.params, "strict")
        judged = fitness.judge([single(expert) for expert in self.experts], dev)
        scores = np.stack([np.asarray(each["strict"], dtype=np.float64) for each in judged], axis=1)
        for kind in READERS:
            settings = RouterSettings(features=feature_settings(kind))
            reader = language_model_of(self.engine)
            router = fit_router(prompts, scores, self.pool.names, settings, np.random.default_rng(0), (), reader)
            save_router(self.folder / kind, router)

    def router(self, kind: str) -> Router:
        """The fitted one with these features."""
        return load_router(self.folder / kind, language_model=language_model_of(self.engine))

    def way(self, name: str) -> Way:
        """The way of that name, with nothing loaded that it does not need."""
        if name in self.pool.names:
            return Alone(self, self.experts[self.pool.names.index(name)])
        for kind in READERS:
            if name == ROUTED.format(kind):
                return Routed(self, self.router(kind))
        return Blended(self, fuse=name == FUSED)

    @property
    def ways(self) -> list[str]:
        """Their names."""
        return [*self.pool.names, *(ROUTED.format(kind) for kind in READERS), RANKED, FUSED]


@dataclass(frozen=True)
class Alone:
    """One expert."""

    world: World
    expert: Expert

    def answer(self, prompts: Sequence[str]) -> Answered:
        """See `Way`."""
        return self.world.asked([self.expert] * len(prompts), prompts)


@dataclass(frozen=True)
class Routed:
    """The expert that a router picks."""

    world: World
    router: Router

    def answer(self, prompts: Sequence[str]) -> Answered:
        """See `Way`."""
        picked = self.choose(prompts)
        found = self.world.asked([self.world.experts[member] for member in picked], prompts)
        if not self.reads:
            return found
        estimate = found.estimate + 2.0 * self.world.parameters * found.read
        return Answered(found.texts, 2 * found.read, found.written, estimate)

    @property
    def reads(self) -> bool:
        """Whether the base model reads every prompt for it."""
        return self.router.features is not None and self.router.features.kind == "hidden"

    def choose(self, prompts: Sequence[str]) -> list[int]:
        """Whom it picks."""
        if self.reads:
            self.world.engine.clear()  # the base's own states, whichever expert has spoken last
        return [choice.member for choice in self.router.choose(prompts)]

    def classifying(self, prompts: Sequence[str]) -> float:
        """Floating-point operations of the classifier's product with these prompts' features."""
        assert self.router.features is not None
        classifier: Any = self.router.classifier
        matrix = classifier.columns if classifier.kind == "knn" else classifier.coefficients
        return 2.0 * int(np.count_nonzero(self.router.features.encode(prompts).values)) * matrix.shape[1]


class Blended:
    """Every expert, a pairwise ranker over their answers, and perhaps a fuser of the best ones."""

    def __init__(self, world: World, fuse: bool):
        self.world = world
        self.ranker = Ranker(world.folder)
        self.fuser = Fuser(world.folder, world.params.max_new_tokens) if fuse else None

    def answer(self, prompts: Sequence[str]) -> Answered:
        """See `Way`."""
        size, members = len(prompts), self.world.experts
        every = [member for member in members for _ in prompts]
        found = self.world.asked(every, list(prompts) * len(members))
        rows = [found.texts[index::size] for index in range(size)]
        read = -self.ranker.read
        order = self.ranker.order(prompts, rows)
        read += self.ranker.read
        estimate = found.estimate + 2.0 * self.ranker.parameters * read
        if self.fuser is None:
            texts = [row[places[0]] for row, places in zip(rows, order, strict=True)]
            return Answered(texts, found.read + read, found.written, estimate)
        fuser = self.fuser
        before = fuser.read, fuser.written
        texts = fuser.fuse(prompts, [[row[k] for k in places[:TOP]] for row, places in zip(rows, order, strict=True)])
        more, written = fuser.read - before[0], fuser.written - before[1]
        estimate += 2.0 * (fuser.parameters[0] * more + fuser.parameters[1] * written)
        return Answered(texts, found.read + read + more, found.written + written, estimate)
