"""Small searches whose every number is known: a scripted engine over a pool that has names but no weights."""

import hashlib
from pathlib import Path

import numpy as np

from swarm.data.example import Dataset, Example
from swarm.engines.base import GenerationParams
from swarm.engines.scripted import ScriptedEngine
from swarm.evals.eval import Eval
from swarm.evolution.checked_config import make_config
from swarm.evolution.fitness import Fitness
from swarm.evolution.problem import Problem
from swarm.maths.decode import DecodeRule, decode
from swarm.members.members import Members
from swarm.system.scheduler import Scheduler
from swarm.system.system import System
from swarm.weights.adapters import Adapter
from swarm.weights.pool import Pool

PARAMS = GenerationParams(max_new_tokens=4)
WORDS = ("red", "green", "blue")


def paper_pool(n=4):
    """A pool whose adapters have digests and nothing else."""
    adapters = tuple(Adapter(f"expert_{i}", Path(f"expert_{i}"), {}, {}, f"digest {i}") for i in range(n))
    return Pool(adapters, base="none")


def chaotic(request):
    """A text that depends on all of the request's content and on nothing else."""
    content = f"{request.member.digest} {request.prompt}".encode()
    return WORDS[hashlib.sha256(content).digest()[0] % 3]


class CountWords(Eval):
    """The share of examples whose answer is given."""

    name = "count_words"
    scorers = ("strict", "compat")

    def params(self, dataset):
        return PARAMS

    def judge(self, dataset, examples):
        from swarm.system.prompts import Query

        texts = yield [Query(example.question) for example in examples]
        right = np.array([text == example.answer for text, example in zip(texts, examples, strict=True)], dtype=float)
        return {"strict": right, "compat": right}


def questions(size=12):
    """A dataset whose answers are words that `chaotic` gives now and then."""
    split = tuple(Example(f"question {i}", WORDS[i % 3]) for i in range(size))
    return Dataset("questions", split, split)


def problem(engine=None, n=4, evaluation=None, **settings):
    """A search over `n` experts; settings as on the command line. `engine` may come with its scheduler."""
    given = {"eval_type": "count_words", "dataset": "questions", "graph_num": 3, "trial_num": 3, "max_iteration": 4}
    config = make_config(given | settings)
    scheduler = engine if isinstance(engine, Scheduler) else Scheduler(engine or ScriptedEngine(chaotic))
    fitness = Fitness(scheduler, evaluation or CountWords(), questions(), PARAMS, config.scorer)
    return Problem(config, Members(paper_pool(n)), fitness)


def random_systems(seed, n, count, edges="tree"):
    """Systems of n nodes with graphs and assignments drawn at random."""
    rng = np.random.default_rng(seed)
    experts = tuple(paper_pool(n).experts())
    for _ in range(count):
        graph = decode(rng.uniform(size=(n, n)) * (1 - np.eye(n)), rng=rng, rule=DecodeRule(edges=edges))
        yield System(graph, tuple(rng.integers(0, n, size=n).tolist()), experts)
