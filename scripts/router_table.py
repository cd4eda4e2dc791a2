"""What a router brings to a search on the embedded experts: found systems with one in the pool, and without.

    python scripts/router_table.py --seeds 4 --out table.json

Every seed has its own dev questions, its own draws and a router that is fitted on these dev questions; all share the
test questions. Prints a Markdown table of test accuracies. Settings of the searches are those of
scripts/embedded_table.py.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from embedded_table import SETTINGS, World, mean_of

from swarm.engines.metered import Budget, Metered
from swarm.evolution.loop import Watcher, search
from swarm.evolution.problem import Problem
from swarm.evolution.state import SearchState, first_state
from swarm.members.composite import NODE_FILE
from swarm.members.members import Members, read_composite
from swarm.members.routing.fit import RouterSettings, fit_router
from swarm.members.routing.router_artefact import save_router
from swarm.members.routing.router_node import Routed
from swarm.members.routing.router_store import RouterStore
from swarm.members.routing.routing_engine import RoutingEngine
from swarm.programs.engine_choice import quieten_libraries
from swarm.storage.files import write_json
from swarm.system.prompts import node_prompt
from swarm.system.scheduler import Scheduler
from swarm.system.system import System, single

NAME = "router"
ROWS = {
    "single": "best single expert (chosen on dev)",
    "alone": "the router alone, with the initial experts",
    "without": "found system, experts only",
    "with": "found system, a router in the pool",
    "refreshed": "found system, a router that is fitted again every iteration",
}
PAIRS = (("with", "without"), ("refreshed", "without"), ("refreshed", "with"), ("with", "alone"))


def fitted(world: World, problem: Problem, seed: int, folder: Path) -> Members:
    """The pool's experts and a router over them, fitted on this seed's dev questions by the experts' own answers."""
    fitness, experts = problem.fitness, world.pool.experts()
    queries = fitness.queries()
    answers = fitness.scheduler.answer_all([(single(expert), queries) for expert in experts], fitness.params)
    scores = np.stack([fitness.score_texts(texts, fitness.dataset.dev) for texts in answers], axis=1)
    prompts = [node_prompt(query, []) for query in queries]
    digests = [expert.digest for expert in experts]
    names = [expert.name for expert in experts]
    router = fit_router(prompts, scores, names, RouterSettings(), np.random.default_rng(seed), digests)
    save_router(folder / "fitted", router)
    (folder / NAME).mkdir()
    write_json(folder / NAME / NODE_FILE, {"type": "router", "members": names, "classifier": "../fitted"})
    return Members(world.pool, (read_composite(folder / NAME),))


def with_router(world: World, problem: Problem, members: Members, folder: Path) -> tuple[Problem, Metered]:
    """The same search with the router in the pool."""
    routers = [member.chooser for member in members.initial() if isinstance(member, Routed)]
    meter = Metered(RoutingEngine(world.engine, world.engine, routers))
    fitness = replace(problem.fitness, scheduler=Scheduler(meter))
    return replace(problem, members=members, fitness=fitness, router_store=RouterStore(folder / "routers")), meter


def found(problem: Problem, meter: Metered, seed: int) -> tuple[System, SearchState]:
    """The best system of a whole search, and the state at its end."""
    state = search(problem, first_state(seed), meter, Watcher(), Budget())
    assert state.best is not None
    return problem.best_system(state.best), state


def one_seed(world: World, seed: int, dev_size: int, settings: dict[str, object]) -> dict[str, float]:
    """Every row's test accuracy for one seed, and the number of the router's nodes in the found systems."""
    plain, meter = world.problem(seed, dev_size, **settings)
    row: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        members = fitted(world, plain, seed, folder)
        system, state = found(plain, meter, seed)
        row["without"] = world.accuracy(plain, system)
        alone = single(world.pool.experts()[int(np.argmax(state.singles))])
        row["single"] = world.accuracy(plain, alone)
        for key, every in (("with", 0), ("refreshed", 1)):
            problem, meter = with_router(world, plain, members, folder)
            problem = replace(problem, config=replace(problem.config, refresh_routers=every))
            system, state = found(problem, meter, seed)
            row[key] = world.accuracy(problem, system)
            row[f"routed_{key}"] = sum(system.member_at(node).name == NAME for node in system.graph)
        row["alone"] = world.accuracy(problem, single(members.initial()[-1]))
    return row


def table(seeds: list[dict[str, float]], test_size: int) -> list[str]:
    """Markdown: means over seeds with intervals, and paired differences."""
    lines = ["| test accuracy | |", "|---|---|"]
    lines += [f"| {label} | {mean_of([seed[key] for seed in seeds])} |" for key, label in ROWS.items()]
    for one, other in PAIRS:
        difference = mean_of([seed[one] - seed[other] for seed in seeds], "+")
        lines.append(f"| {ROWS[one]} − {ROWS[other]}, paired | {difference} |")
    nodes = ", ".join(f"{seed['routed_with']:.0f} and {seed['routed_refreshed']:.0f}" for seed in seeds)
    lines += [
        "",
        f"Means over {len(seeds)} seeds with 95 % t-intervals over seeds; {test_size} test questions for all.",
    ]
    lines += [f"Nodes of the router in the found systems, as fitted and as fitted again, by seed: {nodes}."]
    return lines


def main() -> None:
    """Runs the searches and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", type=Path, default=Path("data/embedded"))
    parser.add_argument("--seeds", type=int, default=4, help="search seeds (default: 4)")
    parser.add_argument("--first_seed", type=int, default=0, help="the first of them")
    parser.add_argument("--dev", type=int, default=120, help="dev questions per seed (default: 120)")
    parser.add_argument("--test", type=int, default=1200, help="test questions (default: 1200)")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other settings of the search")
    parser.add_argument("--out", type=Path, help="write every number there, as JSON")
    options = parser.parse_args()
    settings = {name: json.loads(value) for name, value in (part.split("=", 1) for part in options.set)}
    quieten_libraries()
    world, began, seeds = World(options.world, options.test), time.monotonic(), []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        seeds.append(one_seed(world, seed, options.dev, settings))
        short = " ".join(f"{name} {value:.3f}" for name, value in seeds[-1].items())
        print(f"seed {seed} ({time.monotonic() - began:.0f} s): {short}", file=sys.stderr, flush=True)
    if options.out:
        write_json(options.out, {"settings": SETTINGS | settings, "test": options.test, "results": seeds})
    print("\n".join(table(seeds, options.test)))


if __name__ == "__main__":
    main()
