"""Random candidates: trees with members drawn at random, with or without mixtures. What a search has to beat."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from swarm.evolution.candidate import Candidate, Proposal, Scored, Space, Who, candidate
from swarm.evolution.config import SearchConfig

AT_ONCE = 16


def random_tree(nodes: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """A tree whose edges lead to its end, drawn uniformly from all labelled trees with all ends (Prüfer 1918)."""
    if nodes == 1:
        return []
    code = rng.integers(nodes, size=nodes - 2).tolist()
    degree = [1 + code.count(node) for node in range(nodes)]
    edges = []
    for node in code:
        leaf = degree.index(1)
        edges.append((leaf, node))
        degree[leaf], degree[node] = 0, degree[node] - 1
    edges.append(tuple(node for node in range(nodes) if degree[node] == 1))  # type: ignore[arg-type]
    end = int(rng.integers(nodes))
    told: dict[int, list[int]] = {node: [] for node in range(nodes)}
    for u, v in edges:
        told[u].append(v)
        told[v].append(u)
    directed, waiting, seen = [], [end], {end}
    while waiting:
        node = waiting.pop()
        for other in told[node]:
            if other not in seen:
                seen.add(other)
                directed.append((other, node))
                waiting.append(other)
    return directed


def random_candidate(space: Space, rng: np.random.Generator, mixed: bool) -> Candidate:
    """A random tree in which every initial member has a node, in a random order; mixed, each moved towards another.

    Where fewer nodes than members may be, some members are left out.
    """
    initial = space.initial
    nodes = min(len(initial), space.max_nodes)
    order = rng.permutation(len(initial))[:nodes]
    found: list[Who] = []
    experts = [who for who in initial if not isinstance(who, str)]
    for index in order:
        who = initial[index]
        if mixed and not isinstance(who, str):
            other = experts[(index + rng.integers(1, len(experts))) % len(experts)]
            share = rng.uniform(0, 0.5)
            who = tuple(((1 - share) * np.array(who) + share * np.array(other)).tolist())
        found.append(who)
    instructions = [space.starts.get(node, "default") for node in range(nodes)]
    return candidate(random_tree(nodes, rng), found, instructions)


class RandomDraws:
    """Proposes random trees; learns nothing."""

    def __init__(self, mixed: bool = False):
        self._mixed = mixed

    @classmethod
    def of(cls, config: SearchConfig) -> "RandomDraws":
        """As the settings have it."""
        return cls(bool(config.mixtures))

    def start(self, space: Space, alone: Sequence[Scored], rng: np.random.Generator) -> Any:
        """Nothing is remembered."""
        return {}

    def propose(self, space: Space, state: Any, rng: np.random.Generator) -> list[Proposal]:
        """Random trees."""
        return [
            Proposal(random_candidate(space, rng, self._mixed), (), ("mixed tree" if self._mixed else "tree",))
            for _ in range(AT_ONCE)
        ]

    def learn(self, state: Any, scored: Sequence[Scored]) -> Any:
        """The same state."""
        return state

    def bar(self, state: Any) -> None:
        """None: each answers all of dev."""
        return None
