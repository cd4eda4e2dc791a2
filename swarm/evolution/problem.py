"""The search problem: settings, members, instructions, and the fitness of systems."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import networkx as nx
import numpy as np

from swarm.data.example import Dataset
from swarm.engines.base import Member
from swarm.errors import BudgetReached
from swarm.evolution.breeding import breed, population_names
from swarm.evolution.candidate import Candidate, Space, Who
from swarm.evolution.config import SearchConfig
from swarm.evolution.fitness import Fitness
from swarm.evolution.instruction_file import PUBLISHED_INSTRUCTIONS, Instructions
from swarm.evolution.state import Best, Decoded, first_state
from swarm.maths.decode import decode_again
from swarm.members.members import Members
from swarm.members.routing.router_store import RouterStore
from swarm.system.system import System, graph_of, single
from swarm.weights.pool import Expert, Pool

MORE_NODES = 3  # that a candidate may have beyond one for each member


def most_nodes(config: SearchConfig, members: int, dataset: Dataset) -> int:
    """Nodes that a candidate has at most: where contexts come in parts that may not be shared, one for each part."""
    most = config.max_nodes or members + MORE_NODES
    parts = [len(example.chunks) for example in (*dataset.dev, *dataset.test) if example.chunks]
    return most if config.share_chunks or not parts else min(most, *parts)


@dataclass(frozen=True)
class Problem:
    """The search problem: settings, members, and the fitness of systems."""

    config: SearchConfig
    members: Members
    fitness: Fitness
    router_store: RouterStore | None = None  # where routers that are fitted again are kept; needed only for these
    instructions: Instructions = PUBLISHED_INSTRUCTIONS

    @property
    def pool(self) -> Pool:
        """The pool of initial experts."""
        return self.members.pool

    @property
    def size(self) -> int:
        """n, the number of members and of nodes in a graph."""
        return len(self.names) + len(self.members.composites)

    @property
    def names(self) -> list[str]:
        """Names of the experts that move: the pool's, and their children if the population was bred."""
        return population_names(self.pool.names, self.config.population(len(self.pool.names)))

    @property
    def starting_experts(self) -> np.ndarray:
        """The experts' initial coefficients over the pool, (experts that move, experts in the pool)."""
        initial, moving = len(self.pool.names), len(self.names)
        if moving == initial:
            return np.eye(initial)
        return breed(initial, moving, first_state(self.config.seed).generator("breeding"))

    def members_with(self, routers: Mapping[str, str]) -> Members:
        """The members with these routers, name -> digest, instead of those that the search began with."""
        if not routers:
            return self.members
        assert self.router_store is not None
        return self.members.with_routers(routers, self.router_store)

    def system(
        self,
        decoded: Decoded,
        assignment: Sequence[int],
        coefficients: np.ndarray,
        routers: Mapping[str, str] = MappingProxyType({}),
        instructions: tuple[str, ...] = (),
    ) -> System:
        """The system of this graph, with experts at these coefficients, these routers and these nodes' instructions."""
        later, members = self._later_graph(decoded), self.members_with(routers).at(self.names, coefficients)
        wording = self.instructions.wording(instructions)
        return System(
            decoded.graph, tuple(assignment), members, self.fitness.params, later, self.config.drops_thoughts, wording
        )

    def candidate_system(self, one: Candidate) -> System:
        """The system of a candidate, whose experts at coefficients of their own are named <expert>@<node>.

        The expert is the initial one that it has most of, the node the first one that it is at.
        """
        members = list(self._initial)
        index = {who: at for at, who in enumerate(self.space.initial)}
        for node, who in enumerate(one.nodes):
            if who not in index:
                index[who] = len(members)
                members.append(self._expert_at(node, who))
        assignment = tuple(index[who] for who in one.nodes)
        wording = self.instructions.wording(one.instructions)
        graph = graph_of(len(one.nodes), one.edges)
        return System(graph, assignment, tuple(members), self.fitness.params, None, self.config.drops_thoughts, wording)

    def _expert_at(self, node: int, who: Who) -> Expert:
        names = self.members.names
        name = f"{names[int(np.argmax(np.abs(who)))]}@{node}"  # type: ignore[arg-type]
        while name in names:  # a pool that a search has written has such names itself
            name += "_"
        return self.pool.expert(name, who)  # type: ignore[arg-type]

    @cached_property
    def _initial(self) -> tuple[Member, ...]:
        return self.members.initial()

    @cached_property
    def space(self) -> Space:
        """What candidates may be."""
        own, members, dataset = self.instructions, self.members, self.fitness.dataset
        return Space(
            experts=tuple(members.pool.names),
            composites=tuple(composite.name for composite in members.composites),
            instructions=own.candidates,
            starts=own.nodes,
            named=tuple(own.named),
            max_nodes=most_nodes(self.config, len(members.names), dataset),
            questions=len(dataset.dev),
        )

    def _later_graph(self, decoded: Decoded) -> nx.DiGraph | None:
        """The graph of an eval's second pass where the published program decodes its spoilt matrix once more.

        Raises BudgetReached where it would crash, since that comes in mid-search and what was found is worth keeping.
        """
        config = self.config
        if not config.paper_code or config.top_p > 0 or self.fitness.evaluation.passes == 1:
            return None
        try:
            return decode_again(decoded.adjacency, config.decode_rule)
        except ValueError as error:
            raise BudgetReached(
                f"here the published program crashes: it cannot decode a graph a second time ({error}); without "
                "--compat both passes are on one graph"
            ) from error

    def single(self, member: Member) -> System:
        """A member alone."""
        return single(member, self.fitness.params, self.config.drops_thoughts, self.instructions.wording())

    def best_system(self, best: Best) -> System:
        """The best system found."""
        if best.candidate is not None:
            return self.candidate_system(best.candidate)
        return self.system(best.decoded, best.assignment, best.coefficients, best.routers, best.instructions)
