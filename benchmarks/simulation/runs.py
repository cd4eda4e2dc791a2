"""A search in simulated time, for a number of workers, step by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.parts import FirstLetter, config_for, nameless_pool
from benchmarks.simulation.pace import Pace
from benchmarks.simulation.texts import Lengths
from benchmarks.simulation.transport import Faults, SimulatedTransport, Tally
from swarm.engines.base import Completion, GenerationParams
from swarm.engines.cache.completion_cache import CompletionCache
from swarm.engines.metered import Metered
from swarm.evolution.fitness import Fitness
from swarm.evolution.problem import Problem
from swarm.evolution.state import first_state
from swarm.evolution.steps import STEPS
from swarm.members.members import Members
from swarm.system.scheduler import Scheduler
from swarm.workers.worker_executor import Limits, WorkerExecutor


@dataclass(frozen=True)
class Setting:
    """What is searched, by what.

    Attributes:
      experts, graphs, assignments, questions: n, N, M, D.
      iterations: after the start, which has a role step and a weight step of its own.
      search: further settings of the search, such as top_p or edges.
    """

    experts: int = 10
    graphs: int = 10
    assignments: int = 10
    questions: int = 200
    iterations: int = 2
    seed: int = 0
    pace: Pace = Pace()  # noqa: RUF009 (frozen)
    lengths: Lengths = Lengths()  # noqa: RUF009 (frozen)
    faults: Faults = Faults()  # noqa: RUF009 (frozen)
    limits: Limits = Limits()  # noqa: RUF009 (frozen)
    search: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One step of a search.

    Attributes:
      name: which.
      seconds: from its beginning to its last answer, simulated.
      asked, shared: requests of all graphs, and how many of them needed no generation.
    """

    name: str
    seconds: float
    asked: int
    shared: int
    tally: Tally

    def bound(self, workers: int) -> float:
        """Seconds below which no way of handing out work can come: the longest chain, and the work in equal parts."""
        return max(self.tally.longest, self.tally.least / workers)


@dataclass(frozen=True)
class Outcome:
    """A search by so many workers; times are simulated seconds of all its steps.

    Attributes:
      scores: of the best system after each step, which must not depend on the workers.
    """

    workers: int
    steps: tuple[Step, ...]
    scores: tuple[float, ...]

    @property
    def makespan(self) -> float:
        """From the first request to the last answer, the workers having started."""
        return sum(step.seconds for step in self.steps)

    @property
    def bound(self) -> float:
        """That of every step, since a step needs all scores of the last one."""
        return sum(step.bound(self.workers) for step in self.steps)

    @property
    def longest(self) -> float:
        """Seconds of the steps' longest chains."""
        return sum(step.tally.longest for step in self.steps)

    @property
    def busy(self) -> float:
        """Seconds of workers at work."""
        return sum(step.tally.busy for step in self.steps)

    @property
    def utilisation(self) -> float:
        """The share of all workers' time in which they are at work."""
        return self.busy / (self.workers * self.makespan)


def simulate(setting: Setting, workers: int) -> Outcome:
    """The start and some iterations of a search by so many workers.

    Raises UserError as a search does, such as for a batch that has ended too many workers.
    """
    transport = SimulatedTransport(workers, setting.pace, setting.lengths, setting.faults, setting.seed)
    executor = Metered(WorkerExecutor(transport, setting.limits))
    cache = CompletionCache(executor.facts(), _Kept())
    scheduler = Scheduler(executor, cache, on_answer=lambda *_: transport.pass_time(setting.pace.head))
    problem = _problem(setting, scheduler)
    state = first_state(setting.seed)
    steps, scores = [], []
    transport.next_step()
    while state.next_step != "final":
        cache.next_step()
        begun, asked, shared = transport.now(), scheduler.asked, scheduler.shared
        name = state.next_step
        state = STEPS[name](problem, state)
        seconds = transport.now() - begun
        counts = scheduler.asked - asked, scheduler.shared - shared
        steps.append(Step(name, seconds, *counts, transport.next_step()))
        assert state.best is not None
        scores.append(state.best.score)
    return Outcome(workers, tuple(steps), tuple(scores))


class _Kept:
    """What a run keeps on disk, without the disk."""

    def __init__(self) -> None:
        self._completions: dict[bytes, Completion] = {}

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        return {key: self._completions[key] for key in keys if key in self._completions}

    def put_many(self, completions: Mapping[bytes, Completion]) -> Mapping[bytes, Completion]:
        self._completions.update(completions)
        return {}


def _problem(setting: Setting, scheduler: Scheduler) -> Problem:
    sizes = {"trial_num": setting.assignments, "max_iteration": setting.iterations}
    endless = {"patience": setting.iterations + 2}  # scores mean nothing here: they must not end the search
    config = config_for(setting.graphs, seed=setting.seed, **sizes, **endless, **setting.search)
    evaluation, dataset = FirstLetter(), setting.lengths.questions(setting.questions, setting.seed)
    params = GenerationParams(setting.lengths.most)
    fitness = Fitness(scheduler, evaluation, dataset, params, config.scorer)
    return Problem(config, Members(nameless_pool(setting.experts)), fitness)
