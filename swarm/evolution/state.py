"""The whole state of a search as a value: what a step takes and returns, and its form as JSON."""

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import networkx as nx
import numpy as np

from swarm.engines.metered import Usage
from swarm.evolution.candidate import Candidate, candidate_of
from swarm.maths.pso import Swarm
from swarm.system.system import graph_of

FORMAT = 1
PURPOSES = ("graphs", "experts", "assignments", "decode", "breeding", "routers", "optimizer")  # a new one comes last

Edges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Decoded:
    """A continuous graph with the DAG that was read from it; with top_p > 0 the DAG cannot be read again."""

    adjacency: np.ndarray  # (n, n)
    edges: Edges

    @property
    def graph(self) -> nx.DiGraph:
        """The DAG."""
        return graph_of(len(self.adjacency), self.edges)


@dataclass(frozen=True)
class Best:
    """The best system found so far.

    Attributes:
      score: its utility on dev when it was found.
      decoded: its graph.
      assignment: index of the member at each node.
      coefficients: of all experts then over the pool's, shape (experts that move, experts in the pool).
      found: the step that found it, such as "role 3".
      routers: name -> digest of the routers that had been fitted again by then.
      instructions: the name of each node's; empty where all have the default.
      candidate: the system, where a search by candidates has found it; `coefficients` are empty then.
    """

    score: float
    decoded: Decoded
    assignment: tuple[int, ...]
    coefficients: np.ndarray
    found: str
    routers: dict[str, str] = field(default_factory=dict)
    instructions: tuple[str, ...] = ()
    candidate: Candidate | None = None

    @staticmethod
    def of(candidate: Candidate, score: float, found: str) -> "Best":
        """The best system where it is a candidate."""
        nodes = len(candidate.nodes)
        adjacency = np.zeros((nodes, nodes))
        for u, v in candidate.edges:
            adjacency[u, v] = 1.0
        decoded, assignment = Decoded(adjacency, candidate.edges), tuple(range(nodes))
        names = candidate.instructions
        return Best(score, decoded, assignment, np.zeros((0, 0)), found, {}, names, candidate)


@dataclass(frozen=True)
class Refresh:
    """The result of refitting a router.

    Attributes:
      name: of the composite.
      prompts: different prompts on dev that a node of the step's graphs was asked.
      labelled: those of them that all its members, as they now are, have answered in this step.
      questions: dev questions that are behind these.
      kept: why the router stayed as it was; "" where it was fitted again.
    """

    name: str
    prompts: int
    labelled: int
    questions: int
    kept: str = ""


@dataclass(frozen=True)
class SearchState:
    """Everything that the next step needs.

    Attributes:
      next_step: start_role, start_weight, role, weight or final; of a search by candidates start, round or final.
      iteration: of the next step; 0 is the start.
      generators: purpose -> state of its random generator, as numpy gives it.
      usage: work of the search.
      final_usage: work of the final scores of earlier sittings, which a limit had ended.
      graphs, experts: the two swarms; None until they are started.
      best_graph: the graph with the best role-step score ever, for credit.
      iteration_graph: the graph with the best score of the running iteration.
      best: the best system so far.
      best_history: its score after each iteration, the start's first.
      singles: each initial member's utility alone, on dev; experts first.
      solved: for each initial member a text with a 1 for every dev question that it solves alone, else a 0; empty where
        a run was begun by an earlier version, or by an eval that asks a judge.
      first: the best system after the start.
      composite_credits: the last JFK-scores of the composites, which have nothing that moves.
      routers: name -> digest of the routers that were fitted again; the others are as they were at the start.
      refreshed: what came of that in the last step; empty where none was due.
      stop_reason: why the search ended; "" while it goes on.
      skipped: indices of the dev examples that are left out, because the judge refuses them.

    Of a search by candidates:
      optimizer: the optimizer's own state.
      charged: how many requests, calls and tokens the run is charged.
      tried: candidates so far.
      idle: candidates in a row, up to now, that cost nothing.
      raced: answers of nodes that the candidates would have taken on all of dev, and those that they took.
    """

    next_step: str
    iteration: int
    generators: dict[str, Any]
    usage: Usage = Usage()  # noqa: RUF009 (frozen)
    graphs: Swarm | None = None
    experts: Swarm | None = None
    best_graph: Decoded | None = None
    iteration_graph: Decoded | None = None
    best: Best | None = None
    best_history: tuple[float, ...] = ()
    singles: tuple[float, ...] = ()
    composite_credits: tuple[float, ...] = ()
    routers: dict[str, str] = field(default_factory=dict)
    refreshed: tuple[Refresh, ...] = ()
    stop_reason: str = ""
    final_usage: Usage = Usage()  # noqa: RUF009 (frozen)
    solved: tuple[str, ...] = ()
    first: Best | None = None
    skipped: tuple[int, ...] = ()
    optimizer: Any = None
    charged: tuple[int, int, int] = (0, 0, 0)
    tried: int = 0
    idle: int = 0
    raced: tuple[int, int] = (0, 0)

    @property
    def title(self) -> str:
        """The next step's name for people: "first graphs", "first experts", "role 3", "weight 3", "final"."""
        names = {"start_role": "first graphs", "start_weight": "first experts", "start": "start", "final": "final"}
        return names.get(self.next_step) or f"{self.next_step} {self.iteration}"

    @property
    def steps_done(self) -> int:
        """The number of steps done, the two of the start included."""
        if self.by_candidates:
            return self.iteration
        return 2 * self.iteration + {"start_weight": 1, "weight": 1, "final": 2}.get(self.next_step, 0)

    @property
    def by_candidates(self) -> bool:
        """Whether the search is one by candidates."""
        return self.next_step in ("start", "round") or self.optimizer is not None

    def generator(self, purpose: str) -> np.random.Generator:
        """The generator of this purpose in the state that was saved."""
        bits = np.random.PCG64()
        bits.state = self.generators[purpose]
        return np.random.Generator(bits)

    def after(self, generators: dict[str, np.random.Generator], **changes: Any) -> "SearchState":
        """This state with changes, and with the generators as they are after their draws."""
        states = {purpose: rng.bit_generator.state for purpose, rng in generators.items()}
        return replace(self, generators=self.generators | states, **changes)


def first_state(seed: int, by_candidates: bool = False) -> SearchState:
    """The state before the first step, with one generator per purpose, spawned from the seed."""
    children = np.random.SeedSequence(seed).spawn(len(PURPOSES))
    states = {purpose: np.random.PCG64(child).state for purpose, child in zip(PURPOSES, children, strict=True)}
    return SearchState("start" if by_candidates else "start_role", 0, states)


def state_to_json(state: SearchState) -> dict[str, Any]:
    """The state as plain lists, numbers and texts; floats keep every bit."""
    record = {"format": FORMAT} | _plain(asdict(replace(state, best=None, first=None)))
    return record | {"best": _best_record(state.best), "first": _best_record(state.first)}


def state_from_json(record: dict[str, Any]) -> SearchState:
    """The state in a JSON value. Raises ValueError for another format, KeyError or TypeError if part is missing."""
    if record["format"] != FORMAT:
        raise ValueError(f"state format is {record['format']}, this version reads {FORMAT}")
    # what states of earlier versions have not
    record = {"composite_credits": (), "routers": {}, "refreshed": (), "final_usage": {}, "solved": (),
              "first": None, "skipped": (), "optimizer": None, "charged": (0, 0, 0), "tried": 0, "idle": 0,
              "raced": (0, 0)} | record  # fmt: skip
    values = {f.name: record[f.name] for f in fields(SearchState)}
    values |= {
        "usage": Usage(**record["usage"]),
        "final_usage": Usage(**record["final_usage"]),
        "graphs": _swarm(record["graphs"]),
        "experts": _swarm(record["experts"]),
        "best_graph": _decoded(record["best_graph"]),
        "iteration_graph": _decoded(record["iteration_graph"]),
        "best_history": tuple(record["best_history"]),
        "singles": tuple(record["singles"]),
        "composite_credits": tuple(record["composite_credits"]),
        "refreshed": tuple(Refresh(**one) for one in record["refreshed"]),
        "solved": tuple(record["solved"]),
        "skipped": tuple(record["skipped"]),
        "charged": tuple(record["charged"]),
        "raced": tuple(record["raced"]),
        "best": _best(record["best"]),
        "first": _best(record["first"]),
    }
    return SearchState(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


def _swarm(record: dict[str, Any] | None) -> Swarm | None:
    if record is None:
        return None
    arrays = ("positions", "velocities", "personal_bests", "global_best", "global_worst")
    values = record | {name: np.array(record[name], dtype=np.float64) for name in arrays}
    values["histories"] = tuple(tuple(history) for history in record["histories"])
    values |= {name: tuple(record[name]) for name in ("best_history", "worst_history", "cooldowns")}
    return Swarm(**values)


def _best_record(best: Best | None) -> dict[str, Any] | None:
    if best is None or best.candidate is None:
        return _plain(asdict(best)) if best else None
    return {"score": best.score, "candidate": best.candidate.record(), "found": best.found}


def _best(record: dict[str, Any] | None) -> Best | None:
    if record is None:
        return None
    if "edges" in (record.get("candidate") or ()):
        return Best.of(candidate_of(record["candidate"]), record["score"], record["found"])
    return Best(
        record["score"],
        _decoded(record["decoded"]),
        tuple(record["assignment"]),
        np.array(record["coefficients"]),
        record["found"],
        record.get("routers", {}),
        tuple(record.get("instructions", ())),
    )


def _decoded(record: dict[str, Any] | None) -> Any:
    if record is None:
        return None
    edges = tuple((int(u), int(v)) for u, v in record["edges"])
    return Decoded(np.array(record["adjacency"], dtype=np.float64), edges)
