"""Evolution: a small population, one or two changes to a child, children that race against the population's middle."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from swarm.evolution.candidate import Candidate, Proposal, Scored, Space, chain, star
from swarm.evolution.config import SearchConfig
from swarm.evolution.optimizers import moves
from swarm.evolution.optimizers.moves import Move, rounded
from swarm.evolution.optimizers.population import Known, best_of, candidates_of, finished
from swarm.evolution.optimizers.random_draws import random_candidate

POPULATION, CHILDREN = 12, 8
TREES = 6  # random ones in the first round
RANK_SCALE = 2.0  # of the exponential distribution of a parent's rank
SECOND = 0.3  # chance of a second change
TRIES = 20  # draws of changes for a child, of which some cannot be made
LEAST, MOST = 1 / 3, 3.0  # factors by which learning may change how often a move is tried
BEFORE_GAIN, BEFORE_CALLS = 0.02, 800.0  # what a move is taken to have paid before it was tried

# name -> the move, and how often it is tried at first
MOVES: dict[str, tuple[Move, float]] = {
    "member": (moves.replace_member, 0.22),
    "mix": (moves.mix, 0.06),
    "noise": (moves.noise, 0.03),
    "coefficient": (moves.step, 0.06),
    "swap": (moves.swap, 0.10),
    "move edge": (moves.move_edge, 0.18),
    "add edge": (moves.add_edge, 0.07),
    "drop edge": (moves.drop_edge, 0.02),
    "drop leaf": (moves.drop_leaf, 0.05),
    "add leaf": (moves.add_leaf, 0.08),
    "add end": (moves.add_end, 0.06),
    "drop node": (moves.drop_node, 0.06),
    "instruction": (moves.exchange_instruction, 0.15),
    "graft": (moves.graft, 0.08),
    "cross": (moves.cross_members, 0.08),
}
OF_MIXTURES, OF_TWO = ("mix", "noise", "coefficient"), ("graft", "cross")


class Evolution:
    """Begins with every member alone, random trees, a chain and a star of all members; see the module.

    Its state: `population`, best first; `moves`, name -> [gain in utility of children over their parents, calls];
    `rounds` so far.
    """

    def __init__(self, mixtures: bool = True, crossover: bool = True, learn_moves: bool = True):
        """Which parts of it work; without one it is what that part adds that is missing."""
        left_out = {*(() if mixtures else OF_MIXTURES), *(() if crossover else OF_TWO)}
        self._moves = {name: each for name, each in MOVES.items() if name not in left_out}
        self._learn_moves = learn_moves

    @classmethod
    def of(cls, config: SearchConfig) -> "Evolution":
        """As the settings have it."""
        return cls(config.mixtures is not False, config.crossover, config.learn_moves)

    def start(self, space: Space, alone: Sequence[Scored], rng: np.random.Generator) -> Any:
        """The best members alone."""
        return {"population": best_of(finished(alone), POPULATION), "moves": {}, "rounds": 0}

    def propose(self, space: Space, state: Any, rng: np.random.Generator) -> list[Proposal]:
        """Children of the population; in the first round trees, a chain and a star."""
        if state["rounds"] == 0:
            return _first(space, rng)
        population, weights = candidates_of(state["population"]), self._weights(space, state)
        children = [self._child(space, population, weights, rng) for _ in range(CHILDREN)]
        return [child for child in children if child is not None]

    def learn(self, state: Any, scored: Sequence[Scored]) -> Any:
        """The best of the population and of the children that have finished; and what each move has paid."""
        utilities = {one["key"]: one["utility"] for one in state["population"]}
        paid = {name: list(values) for name, values in state["moves"].items()}
        for one in scored:
            before = utilities.get(one.proposal.parents[0]) if one.proposal.parents else None
            gain = 0.0 if before is None or one.utility is None else max(one.utility - before, 0.0)
            for name in one.proposal.change if before is not None else ():
                values = paid.setdefault(name, [0.0, 0])
                paid[name] = [values[0] + gain, values[1] + one.calls]
        population = best_of([*finished(scored), *state["population"]], POPULATION)
        return {"population": population, "moves": paid, "rounds": state["rounds"] + 1}

    def bar(self, state: Any) -> Sequence[float] | None:
        """The scores of the population's middle; none in the first round."""
        population: list[Known] = state["population"]
        scores: list[float] = population[len(population) // 2]["scores"]
        return scores if state["rounds"] else None

    def _weights(self, space: Space, state: Any) -> np.ndarray:
        """How often each move is tried, (moves,), sum 1: by how it began, and by what it has paid for each call."""
        weights = np.array([weight for _, weight in self._moves.values()])
        weights[[name == "instruction" and len(space.instructions) < 2 for name in self._moves]] = 0.0
        if self._learn_moves:
            paid = np.array([state["moves"].get(name, (0.0, 0)) for name in self._moves])
            rates = (paid[:, 0] + BEFORE_GAIN) / (paid[:, 1] + BEFORE_CALLS)
            weights = weights * np.clip(rates / np.average(rates, weights=weights), LEAST, MOST)
        found: np.ndarray = weights / weights.sum()
        return found

    def _child(
        self, space: Space, population: Sequence[Candidate], weights: np.ndarray, rng: np.random.Generator
    ) -> Proposal | None:
        """A child of a parent by rank, and perhaps of another one; None where no change that was drawn can be made."""
        parent = population[min(int(rng.exponential(RANK_SCALE)), len(population) - 1)]
        other = population[int(rng.integers(len(population)))]
        child, names, change = parent, list(self._moves), list[str]()
        wanted = 1 + int(rng.uniform() < SECOND)
        for _ in range(TRIES):
            name = names[int(rng.choice(len(names), p=weights))]
            changed = self._moves[name][0](space, child, other, rng)
            changed = None if changed is None else rounded(changed)
            if changed is None or changed == child:
                continue
            child, change = changed, [*change, name]
            if len(change) == wanted:
                break
        parents = (parent.key, other.key) if {*change} & {*OF_TWO} else (parent.key,)
        return Proposal(child, parents, tuple(change)) if change else None


def _first(space: Space, rng: np.random.Generator) -> list[Proposal]:
    drawn = [Proposal(random_candidate(space, rng, False), (), ("tree",)) for _ in range(TREES)]
    members = space.initial[: space.max_nodes]
    return [*drawn, Proposal(chain(members), (), ("chain",)), Proposal(star(members), (), ("star",))]
