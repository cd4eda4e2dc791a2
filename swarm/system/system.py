"""A system: the DAG, the assignment of members to its nodes, and the members. What answers, and what is saved."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import networkx as nx
import numpy as np

from swarm.engines.base import GenerationParams, Member, params_of
from swarm.errors import UserError
from swarm.maths.decode import end_node, topological_order
from swarm.members.composite import Composite, used_members
from swarm.members.members import Members, read_members
from swarm.storage.files import read_text, whole_folder
from swarm.system.instructions import PUBLISHED_WORDING, Wording, wording_of
from swarm.system.prompts import Query, node_prompt, tidy_answer
from swarm.text.thoughts import without_thoughts
from swarm.weights.adapters import write_adapter
from swarm.weights.base_model import base_folder
from swarm.weights.full_model import FullWeights, write_full_model
from swarm.weights.materialise import materialise
from swarm.weights.pool import Expert, Pool, fixed_base, relative_to

FILE = "system.json"
FORMAT = 1


@dataclass(frozen=True)
class System:
    """A multi-LLM system.

    Attributes:
      graph: nodes are nodes 0 .. k-1; an edge u -> v says that u tells v its answer; one end.
      assignment: for every node the index of its member in `members`.
      members: the members that can be assigned to nodes.
      params: how it was asked when it was found; None leaves this to whoever asks.
      later_graph: the graph for every pass of an eval after the first, where the published program uses another.
      drop_thoughts: whether what a model thinks aloud is dropped before other nodes, or a scorer, read its answer.
      wording: how its nodes are asked.
    """

    graph: nx.DiGraph
    assignment: tuple[int, ...]
    members: tuple[Member, ...]
    params: GenerationParams | None = None
    later_graph: nx.DiGraph | None = None
    drop_thoughts: bool = False
    wording: Wording = PUBLISHED_WORDING

    def __post_init__(self) -> None:
        for graph in (self.graph, self.later_graph):
            if graph is not None:
                self._check_graph(graph)
        if not all(0 <= index < len(self.members) for index in self.assignment):
            raise ValueError(f"assignment {self.assignment} names a member beyond the {len(self.members)} there are")

    def __repr__(self) -> str:
        told = ", ".join(f"{u} -> {v}" for u, v in sorted(self.graph.edges))
        nodes = ", ".join(f"{node}: {self.member_at(node).name}" for node in sorted(self.graph))
        return f"{type(self).__name__}({nodes}; {told or 'no edges'}; {self.end} answers)"

    def _check_graph(self, graph: nx.DiGraph) -> None:
        end_node(graph)
        if set(graph) != set(range(len(self.assignment))):
            raise ValueError(f"{len(self.assignment)} nodes are assigned, but the graph has nodes {sorted(graph)}")

    def in_pass(self, number: int) -> "System":
        """This system as it answers the queries of an eval's pass, counted from 0."""
        return self if number == 0 or self.later_graph is None else replace(self, graph=self.later_graph)

    def tidy(self, text: str) -> str:
        """A member's text as other nodes and scorers read it."""
        return tidy_answer(without_thoughts(text) if self.drop_thoughts else text)

    @cached_property
    def end(self) -> int:
        """The node whose answer is the system's."""
        return end_node(self.graph)

    @cached_property
    def order(self) -> list[int]:
        """The nodes in topological order."""
        return topological_order(self.graph)

    @cached_property
    def position(self) -> dict[int, int]:
        """Every node's place in topological order."""
        return {node: position for position, node in enumerate(self.order)}

    def prompt(self, query: Query, node: int, previous: Sequence[str]) -> str:
        """The prompt of a node that is told these answers of its predecessors."""
        place = self.position[node]
        if self.wording is PUBLISHED_WORDING:
            return node_prompt(query, previous, place, len(self.position))
        return self.wording.at(node).prompt(query, previous, place, len(self.position))

    def member_at(self, node: int) -> Member:
        """The member that a node is assigned to."""
        return self.members[self.assignment[node]]

    def predecessors(self, node: int) -> list[int]:
        """The predecessors of a node, ascending: the nodes whose answers are in its prompt."""
        return sorted(self.graph.predecessors(node))

    @staticmethod
    def load(folder: str | Path) -> "LoadedSystem":
        """The system in a folder that `save_system` wrote, with the pool that its engine needs.

        Raises UserError if the folder holds none, or one that this version cannot read.
        """
        return load_system(Path(folder))


@dataclass(frozen=True, repr=False)
class LoadedSystem(System):
    """A system read from disk; `saved` holds its members as they were saved, `about` what was noted with it."""

    saved: Members = field(kw_only=True)
    about: Any = None

    @property
    def pool(self) -> Pool:
        """The pool of its experts."""
        return self.saved.pool


def graph_of(nodes: int, edges: Iterable[tuple[int, int]]) -> nx.DiGraph:
    """The DAG with nodes 0 .. nodes-1 and these edges."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from(edges)
    return graph


def single(
    member: Member,
    params: GenerationParams | None = None,
    drop_thoughts: bool = False,
    wording: Wording = PUBLISHED_WORDING,
) -> System:
    """The system of one node with this member, which is asked as the wording has it for a member alone."""
    own = wording.alone() if wording.nodes else wording
    return System(graph_of(1, ()), (0,), (member,), params, drop_thoughts=drop_thoughts, wording=own)


def save_system(
    folder: Path,
    system: System,
    initial: Members,
    adjacency: np.ndarray,
    about: dict[str, Any] | None = None,
    texts: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Writes a system of a search over the `initial` members as a folder that `System.load` reads, whole or not at all.

    `experts/<name>/` are plain PEFT folders of the experts that it uses, directly or within composites, or full models
    in the number format of the initial ones, which need no base; a composite's holds its node.json. system.json says
    who sits where and tells whom, adjacency.npy and assignment.json
    are the published program's files (indices into the run's whole pool).
    The base and composites' models stay where they are: a system that is moved names them by absolute paths, and
    finds them from its folder, too, if they are moved along (`outside`).
    `about` is kept with it: where it comes from, what it scored; `texts` are further files, by name.
    """
    pool = initial.pool
    used = _in_use(system)
    composites = {composite.name: composite for composite in initial.composites if composite.name in used}
    record = {
        "format": FORMAT,
        "places": [system.members[index].name for index in system.assignment],
        "edges": _edges(system.graph),
        "later_edges": None if system.later_graph is None else _edges(system.later_graph),
        "base": None if pool.models else fixed_base(pool.base),
        "revision": pool.revision,
        "outside": _outside(pool, composites.values(), folder),
        "generation": system.params.record() if system.params else None,
        "drop_thoughts": system.drop_thoughts,
        **({} if system.wording == PUBLISHED_WORDING else {"wording": system.wording.record()}),
        "about": about or {},
    }
    with whole_folder(folder) as waiting:
        for name, member in used.items():
            if isinstance(member, Expert):
                _write_expert(waiting / "experts" / name, member, pool)
            elif name in composites:
                composites[name].write(waiting / "experts" / name)
        (waiting / FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf8")
        (waiting / "assignment.json").write_text(json.dumps(list(system.assignment)) + "\n", encoding="utf8")
        np.save(waiting / "adjacency.npy", adjacency.astype(np.float64), allow_pickle=False)
        for name, text in texts.items():
            (waiting / name).write_text(text, encoding="utf8")


def _in_use(system: System) -> dict[str, Member]:
    """The members of a system's nodes, and those that composites among them use; at least one expert, for its base."""
    assigned = [system.members[index] for index in sorted(set(system.assignment))]
    used = {part.name: part for member in assigned for part in used_members(member)}
    if not any(isinstance(member, Expert) for member in used.values()):
        expert = next(member for member in system.members if isinstance(member, Expert))
        used[expert.name] = expert
    return used


def _outside(pool: Pool, composites: Iterable[Composite], folder: Path) -> dict[str, str]:
    """The relative paths from a system's folder to the folders that its members name by absolute paths."""
    named = [part for one in composites for part in one.outside]
    if not pool.models and Path(pool.base).is_dir():
        named.append(fixed_base(pool.base))
    return {path: relative_to(path, folder) for path in dict.fromkeys(named)}


def _moved_along(folder: Path, record: Mapping[str, Any]) -> dict[str, str]:
    """The current paths of folders that a system names, where the relative path is still the same."""
    ways = {str(path): folder / str(way) for path, way in dict(record.get("outside", {})).items()}
    return {path: str(node.resolve()) for path, node in ways.items() if node.is_dir()}


def _write_expert(target: Path, expert: Expert, pool: Pool) -> None:
    weights = materialise(pool, expert.coefficients)
    if isinstance(weights, FullWeights):
        write_full_model(target, weights, base_folder(pool.base, pool.revision))
    else:
        write_adapter(target, weights, fixed_base(pool.base), pool.revision)


def load_system(folder: Path, base: str | None = None) -> LoadedSystem:
    """See `System.load`; `base` is used instead of the base model that the folder names."""
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{folder} holds no system ({FILE} missing); wanted a system's folder or a run that found one")
    try:
        record = json.loads(read_text(path))
        if record["format"] != FORMAT:
            raise UserError(f"{path} has format {record['format']}, this version reads {FORMAT}: update h-swarm")
        saved = read_members(folder / "experts", base, moved=_moved_along(folder, record))
        nodes, later = len(record["places"]), record.get("later_edges")
        params = params_of(record["generation"]) if record["generation"] else None
        return LoadedSystem(
            graph_of(nodes, record["edges"]),
            tuple(saved.names.index(name) for name in record["places"]),
            saved.initial(),
            params,
            None if later is None else graph_of(nodes, later),
            bool(record.get("drop_thoughts", False)),
            wording_of(record["wording"]) if "wording" in record else PUBLISHED_WORDING,
            saved=saved,
            about=dict(record["about"]),
        )
    except (KeyError, TypeError, ValueError, nx.NetworkXException) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}): restore it or save it again") from error


def _edges(graph: nx.DiGraph) -> list[list[int]]:
    return sorted([int(u), int(v)] for u, v in graph.edges)
