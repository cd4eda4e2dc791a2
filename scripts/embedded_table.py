"""What the search brings on the embedded experts: against single experts, votes, random search, and without its parts.

    python scripts/embedded_table.py --worlds data/embedded other/world --seeds 10 --out table.json
    python scripts/embedded_table.py --seeds 10 --rows single average ballot router found
    python scripts/embedded_table.py --read table.json more.json

Every seed has its own dev questions and its own draws; all share the test questions. Prints a Markdown table of test
accuracies. A world is a folder as scripts/train_embedded_experts.py makes it.
"""

import argparse
import collections
import json
import statistics
import sys
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from swarm.data.example import Dataset, Example
from swarm.data.graph_tasks import make_dataset
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.engines.metered import Budget, Metered
from swarm.evals.exact_match import ExactMatch
from swarm.evolution.checked_config import make_config
from swarm.evolution.fitness import Fitness
from swarm.evolution.loop import Watcher, search
from swarm.evolution.problem import Problem
from swarm.evolution.state import Decoded, SearchState, first_state
from swarm.evolution.steps import STEPS
from swarm.maths.decode import decode
from swarm.maths.routing import at
from swarm.members.members import Members
from swarm.members.routing.fit import RouterSettings, best_single, fit_router
from swarm.programs.baselines import majority_vote
from swarm.programs.engine_choice import quieten_libraries
from swarm.system.prompts import Query, node_prompt
from swarm.system.scheduler import Scheduler
from swarm.system.system import System, single
from swarm.weights.pool import read_pool

# what nlgraph.sh uses on these experts
SETTINGS = {
    "graph_num": 8,
    "trial_num": 8,
    "max_iteration": 10,
    "inertia": 0.3,
    "cognitive_coeff": 0.3,
    "social_coeff": 0.3,
    "repel_coeff": 0.05,
    "repel_term": True,
    "step_length": 0.3,
    "step_length_factor": 0.95,
    "restart_stray_particles": True,
    "restart_patience": 0.67,
    "patience": 6,
}
TEST_SEED = 778
ROWS = {
    "single": "best single expert (chosen on dev)",
    "average": "uniform average of the experts",
    "vote": "majority vote of the experts",
    "vote_known": "majority vote, 'unknown' not counted",
    "ballot": "majority vote, as scripts/baselines.py counts it",
    "router": "router, fitted on the dev questions",
    "initial": "best of the initial graphs",
    "random": "random search over trees, as many evaluations",
    "mixed": "random search over trees and weights, as many evaluations",
    "no_role": "search without the role step (graphs stay)",
    "no_weight": "search without the weight step (experts stay)",
    "original_weights": "the found graph and assignment with the initial experts",
    "found": "**the found system**",
}
CHEAP = ("single", "average", "vote", "vote_known", "ballot", "router")  # what takes no search


class World:
    """One pool of experts with its engine, judged on the test questions of all seeds."""

    def __init__(self, folder: Path, test_size: int):
        self.pool = read_pool(folder / "experts")
        self.engine = InProcessEngine(self.pool)
        self.test = examples("test", make_dataset("small", 1, test_size, TEST_SEED))

    def problem(self, seed: int, dev_size: int, **settings: object) -> tuple[Problem, Metered]:
        """A search on this seed's dev questions."""
        record = make_dataset("small", dev_size, 1, 10_000 + seed)
        data = Dataset("graph_tasks_small", examples("dev", record), self.test, generation=record["generation"])
        config = make_config({"eval_type": "exact_match", "dataset": "x", "seed": seed} | SETTINGS | settings)
        evaluation = ExactMatch()
        meter = Metered(self.engine)
        fitness = Fitness(Scheduler(meter), evaluation, data, evaluation.params(data), "strict")
        return Problem(config, Members(self.pool), fitness), meter

    def accuracy(self, problem: Problem, system: System) -> float:
        """On test."""
        return float(problem.fitness.judge([system], self.test)[0]["strict"].mean())


def examples(split: str, record: dict) -> tuple[Example, ...]:
    """The generator's records as the evals read them."""
    return tuple(Example(r["question"], r["answer"], r["id"], r["domain"]) for r in record[split])


def searched(world: World, seed: int, dev_size: int, **settings: object) -> tuple[Problem, SearchState]:
    """A whole search."""
    problem, meter = world.problem(seed, dev_size, **settings)
    return problem, search(problem, first_state(seed), meter, Watcher(), Budget())


def votes(problem: Problem, world: World) -> dict[str, float]:
    """Plurality of the experts' answers alone; ties go to the first expert."""
    systems = [single(expert) for expert in world.pool.experts()]
    queries = [Query(example.question) for example in world.test]
    answers = problem.fitness.scheduler.answer_all([(system, queries) for system in systems], problem.fitness.params)
    right = {"vote": 0, "vote_known": 0}
    for example, *said in zip(world.test, *answers, strict=True):
        right["vote"] += collections.Counter(said).most_common(1)[0][0] == example.answer
        known = [text for text in said if text != "unknown"] or ["unknown"]
        right["vote_known"] += collections.Counter(known).most_common(1)[0][0] == example.answer
    ballots = majority_vote(problem.fitness, systems, world.test)
    assert ballots is not None
    return {name: count / len(world.test) for name, count in right.items()} | {
        "ballot": float(ballots["strict"].mean())
    }


def without_search(world: World, seed: int, dev_size: int) -> dict[str, float]:
    """Test accuracy of what takes no search."""
    problem, _ = world.problem(seed, dev_size)
    fitness, experts = problem.fitness, world.pool.experts()
    dev, test = (
        np.stack([judged["strict"] for judged in fitness.judge([single(expert) for expert in experts], part)], axis=1)
        for part in (fitness.dataset.dev, world.test)
    )
    prompts = [
        [node_prompt(Query(example.question), []) for example in part] for part in (fitness.dataset.dev, world.test)
    ]
    router = fit_router(prompts[0], dev, world.pool.names, RouterSettings(), np.random.default_rng(seed))
    picked = np.array([choice.member for choice in router.choose(prompts[1])])
    average = single(world.pool.expert("average", [1 / len(experts)] * len(experts)))
    return votes(problem, world) | {
        "single": float(test[:, best_single(dev)].mean()),
        "average": world.accuracy(problem, average),
        "router": float(at(test, picked).mean()),
    }


def random_search(problem: Problem, evaluations: int, seed: int, mixed: bool) -> System:
    """The best on dev of so many random trees with the identity assignment (each a random order of the experts).

    With `mixed` every tree has its own experts, each drawn up to half-way towards another one.
    """
    rng, n = np.random.default_rng([seed, int(mixed)]), problem.size
    systems = []
    for _ in range(evaluations):
        matrix, coefficients = rng.uniform(size=(n, n)) * (1 - np.eye(n)), np.eye(n)
        if mixed:
            others = (np.arange(n) + rng.integers(1, n, size=n)) % n
            share = rng.uniform(0, 0.5, size=(n, 1))
            coefficients = (1 - share) * np.eye(n) + share * np.eye(n)[others]
        decoded = Decoded(matrix, tuple(decode(matrix).edges))
        systems.append(problem.system(decoded, range(n), coefficients))
    return systems[int(np.argmax(problem.fitness.utilities(systems)))]


def by_search(
    world: World, seed: int, dev_size: int, settings: dict[str, object], rows: Collection[str]
) -> dict[str, float]:
    """Test accuracy of what a search finds and of what it is compared with, and the found system's on dev."""
    problem, state = searched(world, seed, dev_size, **settings)
    start = STEPS["start_role"](problem, first_state(seed))
    assert state.best is not None and start.best is not None
    config, system = problem.config, problem.best_system(state.best)
    evaluations = (config.graph_num + config.trial_num) * len(state.best_history)
    found = {
        "initial": problem.best_system(start.best),
        "original_weights": replace(system, members=tuple(world.pool.experts())),
        "found": system,
    }
    for name, mixed in (("random", False), ("mixed", True)):
        if name in rows:
            found[name] = random_search(problem, evaluations, seed, mixed)
    for name, off in (("no_role", "move_graphs"), ("no_weight", "move_experts")):
        if name in rows:
            part, end = searched(world, seed, dev_size, **settings, **{off: False})
            assert end.best is not None
            found[name] = part.best_system(end.best)
    scores = {name: world.accuracy(problem, system) for name, system in found.items()}
    return scores | {"dev": state.best.score, "evaluations": evaluations}


def one_seed(
    world: World, seed: int, dev_size: int, settings: dict[str, object], rows: Collection[str]
) -> dict[str, float]:
    """The test accuracies of these rows for one seed, and others that come with them."""
    scores = without_search(world, seed, dev_size) if {*rows} & {*CHEAP} else {}
    return scores | (by_search(world, seed, dev_size, settings, rows) if {*rows} - {*CHEAP} else {})


def table(results: dict[str, list[dict[str, float]]], test_size: int, rows: Collection[str] = tuple(ROWS)) -> list[str]:
    """Markdown: means over seeds with intervals, and the paired differences to what the found system has to beat."""
    lines = ["| test accuracy | " + " | ".join(results) + " |", "|---" * (len(results) + 1) + "|"]
    there = [key for key in ROWS if key in rows and all(key in seed for seeds in results.values() for seed in seeds)]
    for key in there:
        cells = " | ".join(mean_of([s[key] for s in seeds]) for seeds in results.values())
        lines.append(f"| {ROWS[key]} | {cells} |")
    against = ("router", "random", "mixed", "initial", "no_weight", "no_role", "original_weights")
    for key in (key for key in against if key in there and "found" in there):
        cells = " | ".join(mean_of([s["found"] - s[key] for s in seeds], "+") for seeds in results.values())
        lines.append(f"| found − {ROWS[key].split(',')[0].split(' (')[0]}, paired | {cells} |")
    seeds = len(next(iter(results.values())))
    lines += ["", f"Means over {seeds} seeds with 95 % t-intervals over seeds; {test_size} test questions for all."]
    return lines


# two-sided 95 % quantiles of Student's t by degrees of freedom
T95 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26, 11: 2.20, 15: 2.13, 19: 2.09}


def mean_of(values: list[float], sign: str = "") -> str:
    """mean ± half width."""
    if len(values) < 2:
        return f"{values[0]:{sign}.3f}"
    t = T95[max(k for k in T95 if k <= len(values) - 1)]
    half = t * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):{sign}.3f} ± {half:.3f}"


def main() -> None:
    """Runs the searches and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", nargs="+", type=Path, default=[Path("data/embedded")])
    parser.add_argument("--seeds", type=int, default=5, help="search seeds per world (default: 5)")
    parser.add_argument("--first_seed", type=int, default=0, help="the first of them")
    parser.add_argument("--dev", type=int, default=120, help="dev questions per seed (default: 120)")
    parser.add_argument("--test", type=int, default=1200, help="test questions (default: 1200)")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other settings of the search")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="only these (default: all)")
    parser.add_argument("--out", type=Path, help="write every number there, as JSON")
    parser.add_argument(
        "--read", nargs="+", type=Path, help="print the table of files that --out wrote, search nothing"
    )
    options = parser.parse_args()
    if options.read:
        read = [json.loads(path.read_text()) for path in options.read]
        merged = {world: seeds for record in read for world, seeds in record["results"].items()}
        print("\n".join(table(merged, read[0]["test"], options.rows)))
        return
    settings = {name: json.loads(value) for name, value in (part.split("=", 1) for part in options.set)}
    quieten_libraries()
    results: dict[str, list[dict[str, float]]] = {}
    for folder in options.worlds:
        world, began = World(folder, options.test), time.monotonic()
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            scores = one_seed(world, seed, options.dev, settings, options.rows)
            results.setdefault(str(folder), []).append(scores)
            short = " ".join(f"{name} {value:.3f}" for name, value in scores.items())
            print(f"{folder} seed {seed} ({time.monotonic() - began:.0f} s): {short}", file=sys.stderr, flush=True)
    if options.out:
        options.out.write_text(
            json.dumps({"settings": SETTINGS | settings, "test": options.test, "results": results}, indent=2) + "\n"
        )
    print("\n".join(table(results, options.test, options.rows)))


if __name__ == "__main__":
    main()
