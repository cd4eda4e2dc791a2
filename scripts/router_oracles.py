"""What a router brings on the embedded experts: against the best single expert, the skill oracle and a perfect choice.

    python scripts/router_oracles.py --seeds 5 --out routing.json
    python scripts/router_oracles.py --read routing.json

Every seed has its own dev questions, on which all is fitted and chosen, its own test questions, which decide nothing,
and its own folds. The skill oracle is given a question's kind, and asks the expert that was best on that kind's dev
questions. Prints Markdown tables.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from embedded_table import examples, mean_of

from swarm.data.example import Dataset
from swarm.data.graph_tasks import make_dataset
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.evals.exact_match import ExactMatch
from swarm.evolution.fitness import Fitness
from swarm.maths.routing import at
from swarm.members.routing.classifiers import classifier_settings
from swarm.members.routing.features import feature_settings
from swarm.members.routing.fit import RouterSettings, best_single, fit_router
from swarm.members.routing.routing_engine import language_model_of
from swarm.programs.engine_choice import quieten_libraries
from swarm.system.prompts import Query, node_prompt
from swarm.system.scheduler import Scheduler
from swarm.system.system import single
from swarm.weights.pool import read_pool

ROUTERS = [
    f"{features} {classifier}" for features in ("tfidf", "hidden") for classifier in ("knn", "logistic", "quality")
]
WAYS = {"single": "best single expert (chosen on dev)"} | {name: f"router, {name}" for name in ROUTERS}
WAYS |= {"skill": "skill oracle (chosen on dev)", "perfect": "per-prompt oracle"}
FIRST_SEED = 20_000  # of the questions


@dataclass(frozen=True)
class Split:
    """Questions as routers read them, what every expert scores (P, M), and each question's kind (P,)."""

    prompts: list[str]
    scores: np.ndarray
    kinds: np.ndarray


class World:
    """The pool of experts with its engine."""

    def __init__(self, folder: Path):
        self.pool = read_pool(folder / "experts")
        self.engine = InProcessEngine(self.pool)
        self.evaluation = ExactMatch()

    def splits(self, seed: int, dev: int, test: int) -> tuple[Split, Split]:
        """This seed's dev and test questions; no question is in both."""
        record = make_dataset("small", dev, test, FIRST_SEED + seed)
        data = Dataset("graph_tasks_small", examples("dev", record), examples("test", record),
                       generation=record["generation"])  # fmt: skip
        fitness = Fitness(Scheduler(self.engine), self.evaluation, data, self.evaluation.params(data), "strict")
        members = [single(expert) for expert in self.pool.experts()]
        found = []
        for part in (data.dev, data.test):
            judged = fitness.judge(members, part)
            scores = np.stack([np.asarray(each["strict"], dtype=np.float64) for each in judged], axis=1)
            prompts = [node_prompt(Query(example.question), []) for example in part]
            found.append(Split(prompts, scores, np.array([example.domain for example in part])))
        return found[0], found[1]


def one_seed(world: World, seed: int, dev: int, test: int, routers: Sequence[str]) -> dict[str, float]:
    """Every way's test accuracy for one seed; for routers also what they scored on dev prompts held out of fitting."""
    learn, held = world.splits(seed, dev, test)
    best = best_single(learn.scores)
    by_kind = {kind: best_single(learn.scores[learn.kinds == kind]) for kind in np.unique(held.kinds)}
    found = {
        "single": float(held.scores[:, best].mean()),
        "skill": float(at(held.scores, np.array([by_kind[kind] for kind in held.kinds])).mean()),
        "perfect": float(held.scores.max(axis=1).mean()),
    }
    reader = language_model_of(world.engine)
    for name in routers:
        features, classifier = name.split()
        settings = RouterSettings(feature_settings(features), classifier_settings(classifier))
        generator = np.random.default_rng(seed)
        router = fit_router(learn.prompts, learn.scores, world.pool.names, settings, generator, (), reader)
        picked = np.array([choice.member for choice in router.choose(held.prompts)])
        found[name] = float(at(held.scores, picked).mean())
        found[f"{name} on dev"] = float(router.facts["value"])
    return found


def table(results: dict[str, list[dict[str, float]]]) -> list[str]:
    """Markdown, for each number of dev questions: means over seeds with intervals, and differences seed by seed."""
    lines: list[str] = []
    for dev, seeds in results.items():
        lines += ["", f"{dev} dev questions:", ""]
        lines += ["| | test | on held-out dev | − best single | − skill oracle |", "|---|---|---|---|---|"]
        for key, label in WAYS.items():
            if key not in seeds[0]:
                continue
            held_out = mean_of([seed[f"{key} on dev"] for seed in seeds]) if key in ROUTERS else "–"
            gaps = [
                "–" if key == other else mean_of([seed[key] - seed[other] for seed in seeds], "+")
                for other in ("single", "skill")
            ]
            test = mean_of([seed[key] for seed in seeds])
            lines.append(f"| {label} | " + " | ".join([test, held_out, *gaps]) + " |")
    seeds = next(iter(results.values()))
    return [*lines[1:], "", f"Means over {len(seeds)} seeds with 95 % t-intervals over seeds; differences are paired."]


def main() -> None:
    """Fits the routers and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", type=Path, default=Path("data/embedded"), help="(default: data/embedded)")
    parser.add_argument("--seeds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--dev", type=int, nargs="+", default=[120, 480], help="dev questions per seed")
    parser.add_argument("--test", type=int, default=1200, help="test questions per seed (default: 1200)")
    parser.add_argument("--routers", nargs="+", default=ROUTERS, choices=ROUTERS, metavar="NAME",
                        help=f"features and classifier: {', '.join(ROUTERS)} (default: all)")  # fmt: skip
    parser.add_argument("--out", type=Path, help="write every number there, as JSON")
    parser.add_argument("--read", type=Path, help="print the table of a file that --out wrote, fit nothing")
    options = parser.parse_args()
    if options.read:
        print("\n".join(table(json.loads(options.read.read_text()))))
        return
    quieten_libraries()
    world, began = World(options.world), time.monotonic()
    results: dict[str, list[dict[str, float]]] = {}
    for dev in options.dev:
        for seed in range(options.seeds):
            results.setdefault(str(dev), []).append(one_seed(world, seed, dev, options.test, options.routers))
            print(f"{dev} dev questions, seed {seed} ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n")
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
