"""A particle swarm that moves locally: each particle remembers its best system and tries a change of it at a time.

The published swarm moves all graphs and all experts at every step, so that nothing asked before is of use. Here a
particle goes from its personal best, and takes of the global best, or changes by chance, one node or edge: the pulls of
inertia, cognition and society are the chances of these.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from swarm.evolution.candidate import Candidate, Proposal, Scored, Space, candidate
from swarm.evolution.config import SearchConfig
from swarm.evolution.optimizers import moves
from swarm.evolution.optimizers.moves import rounded
from swarm.evolution.optimizers.population import Known, best_of, candidates_of, finished
from swarm.evolution.optimizers.random_draws import random_candidate

PARTICLES = 8
SOCIAL = 0.3  # chance of a step towards the global best; else a change by chance
STEPS: tuple[moves.Move, ...] = (moves.replace_member, moves.step, moves.mix, moves.swap, moves.move_edge)
GRAPH_STEPS: tuple[moves.Move, ...] = (moves.replace_member, moves.swap, moves.move_edge)


class LocalSwarm:
    """See the module."""

    def __init__(self, mixtures: bool = True):
        self._mixtures = mixtures

    @classmethod
    def of(cls, config: SearchConfig) -> "LocalSwarm":
        """As the settings have it."""
        return cls(config.mixtures is not False)

    def start(self, space: Space, alone: Sequence[Scored], rng: np.random.Generator) -> Any:
        """No particle yet: the first round draws them."""
        return {"particles": []}

    def propose(self, space: Space, state: Any, rng: np.random.Generator) -> list[Proposal]:
        """A step of each particle; at first random trees."""
        particles = state["particles"]
        if len(particles) < PARTICLES:
            drawn = [random_candidate(space, rng, self._mixtures) for _ in range(PARTICLES - len(particles))]
            return [Proposal(one, (), ("tree",)) for one in drawn]
        own = candidates_of(particles)
        best = own[int(np.argmax([one["utility"] for one in particles]))]
        return [self._step(space, one, best, rng) for one in own]

    def learn(self, state: Any, scored: Sequence[Scored]) -> Any:
        """A particle's personal best gives way to one that is as good or better."""
        particles: list[Known] = list(state["particles"])
        parents = {one.candidate.key: one.proposal.parents for one in scored}
        for new in finished(scored):
            places = [at for at, one in enumerate(particles) if [one["key"]] == list(parents[new["key"]])[:1]]
            if not places:
                particles = best_of([new, *particles], PARTICLES)
            elif new["utility"] >= particles[places[0]]["utility"]:
                particles[places[0]] = new
        return {"particles": particles}

    def bar(self, state: Any) -> Sequence[float] | None:
        """The scores of the middle personal best; none before there are all particles."""
        particles = best_of(state["particles"], PARTICLES)
        return particles[PARTICLES // 2]["scores"] if len(particles) == PARTICLES else None

    def _step(self, space: Space, one: Candidate, best: Candidate, rng: np.random.Generator) -> Proposal:
        if rng.uniform() < SOCIAL and best != one:
            child = _towards(one, best, rng) if rng.uniform() < 0.5 else moves.graft(space, one, best, rng)
            if child is not None:
                return Proposal(rounded(child), (one.key, best.key), ("social",))
        usual = STEPS if self._mixtures else GRAPH_STEPS
        move = usual[int(rng.integers(len(usual)))]
        child = move(space, one, best, rng) or moves.replace_member(space, one, best, rng)
        return Proposal(rounded(child), (one.key,), ("local",))


def _towards(one: Candidate, best: Candidate, rng: np.random.Generator) -> Candidate:
    """A node with the member of the same node of the global best."""
    node = int(rng.integers(min(len(one.nodes), len(best.nodes))))
    nodes = [*one.nodes[:node], best.nodes[node], *one.nodes[node + 1 :]]
    return candidate(one.edges, nodes, one.instructions)
