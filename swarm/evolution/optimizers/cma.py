"""CMA-ES (Hansen 2016) by the library cmaes: moves the coefficients of all experts on a given graph together."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cmaes import CMA

from swarm.errors import UserError
from swarm.evolution.candidate import Candidate, Proposal, Scored, Space, Who, candidate, candidate_of, chain, star
from swarm.evolution.config import SearchConfig
from swarm.storage.files import read_text

CHAIN, STAR, SYSTEM = "chain", "star", "system.json"
SPREAD = 0.2  # standard deviation of a coefficient at the start
_NOT_KEPT = ("_funhist_values",)  # of a stopping rule that is not used, and not initialised at first


class Cma:
    """Proposes a generation of CMA-ES each round; each answers all of dev, since ranks need every score.

    The state holds the distribution as the library itself hands it out to be stored.
    """

    def __init__(self, graph: str = CHAIN):
        """`graph` is chain, star, or a found system's folder. Raises UserError if there is none."""
        self._graph = graph
        self._found = None if graph in (CHAIN, STAR) else _read_graph(graph)

    @classmethod
    def of(cls, config: SearchConfig) -> "Cma":
        """As the settings have it."""
        return cls(config.graph)

    def start(self, space: Space, alone: Sequence[Scored], rng: np.random.Generator) -> Any:
        """The distribution around the initial experts on the graph."""
        nodes = [one.candidate.nodes[0] for one in sorted(alone, key=lambda one: one.utility or 0.0)]
        experts = [who for who in nodes if not isinstance(who, str)][-space.max_nodes :]
        one = self._on_graph(space, experts)
        mean = np.concatenate([np.array(who, dtype=np.float64) for who in one.nodes if not isinstance(who, str)])
        return {"graph": one.record(), "cma": _record(CMA(mean=mean, sigma=SPREAD, seed=0)), "first": True}

    def propose(self, space: Space, state: Any, rng: np.random.Generator) -> list[Proposal]:
        """A generation; with the first one the graph as it began."""
        one, cma = candidate_of(state["graph"]), _cma(state["cma"])
        cma.reseed_rng(int(rng.integers(2**32)))
        drawn = [Proposal(_at(one, cma.ask()), (one.key,), ("cmaes",)) for _ in range(cma.population_size)]
        return [*drawn, Proposal(one, (), (self._graph,))] if state["first"] else drawn

    def learn(self, state: Any, scored: Sequence[Scored]) -> Any:
        """The distribution after a whole generation; a part of one, at the end of a budget, teaches nothing."""
        cma, graph = _cma(state["cma"]), candidate_of(state["graph"])
        told = [(_vector(one.candidate), -one.utility) for one in scored
                if one.utility is not None and one.candidate != graph]  # fmt: skip
        if len(told) == cma.population_size:
            cma.tell(told)
        return state | {"cma": _record(cma), "first": False}

    def _on_graph(self, space: Space, experts: Sequence[Who]) -> Candidate:
        """The graph with an initial expert at each node: in their order, the last at its end; or as it was found."""
        if self._found is None:
            return chain(experts) if self._graph == CHAIN else star(experts)
        edges, places = self._found
        if len(places) > space.max_nodes:
            raise UserError(f"--graph {self._graph} has {len(places)} nodes; wanted at most {space.max_nodes}: raise "
                            "--max_nodes")  # fmt: skip
        initial = dict(zip(space.experts, space.initial, strict=False))
        return candidate(edges, [initial.get(name.partition("@")[0], experts[at % len(experts)])
                                 for at, name in enumerate(places)])  # fmt: skip

    def bar(self, state: Any) -> None:
        """None: each answers all of dev."""
        return None


def _read_graph(folder: str) -> tuple[list[tuple[int, int]], list[str]]:
    """The edges of a found system, and the names of its nodes' members. Raises UserError if it cannot be read."""
    try:
        record = json.loads(read_text(Path(folder) / SYSTEM))
        return [(int(u), int(v)) for u, v in record["edges"]], [str(name) for name in record["places"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--graph is {folder}, which holds no system that can be read ({type(error).__name__}); wanted {CHAIN}, "
            f"{STAR}, or a found system's folder such as search/<name>/best"
        ) from error


def _at(one: Candidate, vector: np.ndarray) -> Candidate:
    rows = vector.reshape(len(one.nodes), -1)
    return candidate(one.edges, [tuple(row.tolist()) for row in rows], one.instructions)


def _vector(one: Candidate) -> np.ndarray:
    return np.concatenate([np.array(who, dtype=np.float64) for who in one.nodes])


def _record(cma: CMA) -> dict[str, Any]:
    values = {name: value for name, value in cma.__getstate__().items() if name not in _NOT_KEPT}
    return {name: value.tolist() if isinstance(value, np.ndarray | np.generic) else value
            for name, value in values.items()}  # fmt: skip


def _cma(record: dict[str, Any]) -> CMA:
    values = {name: np.array(value) if isinstance(value, list) else value for name, value in record.items()}
    cma = CMA(mean=values["_mean"], sigma=1.0, seed=0, population_size=values["_popsize"])
    cma.__setstate__(cma.__getstate__() | values)
    return cma
