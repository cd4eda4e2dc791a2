"""Candidates: systems under evaluation in a search, as values with an exact record in JSON."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Edges = tuple[tuple[int, int], ...]
Who = tuple[float, ...] | str
"""Who is at a node: an expert, by its coefficients over the pool's initial experts; or a composite, by its name."""


@dataclass(frozen=True)
class Candidate:
    """A DAG over nodes 0 .. k-1 with one end, and who is at each node.

    Attributes:
      edges: (u, v) where u tells v its answer, sorted.
      nodes: who is at each node. Nodes with equal coefficients share an expert, so the published form, n experts and an
        assignment, is a special case.
      instructions: the name of each node's; empty where all have the default.
    """

    edges: Edges
    nodes: tuple[Who, ...]
    instructions: tuple[str, ...] = ()

    @cached_property
    def told_by(self) -> tuple[tuple[int, ...], ...]:
        """For each node the nodes that tell it their answers, ascending."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for source, target in self.edges:
            found[target].append(source)
        return tuple(tuple(sorted(sources)) for sources in found)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The nodes, each after those that tell it. Raises ValueError for a circle."""
        waiting, order = dict(enumerate(self.told_by)), list[int]()
        while waiting:
            ready = [node for node, sources in waiting.items() if not any(source in waiting for source in sources)]
            if not ready:
                raise ValueError(f"nodes {sorted(waiting)} tell each other in a circle")
            order += ready
            for node in ready:
                del waiting[node]
        return tuple(order)

    @cached_property
    def end(self) -> int:
        """The node whose answer is the system's. Raises ValueError unless one node alone tells nobody."""
        telling = {source for source, _ in self.edges}
        ends = [node for node in range(len(self.nodes)) if node not in telling]
        if len(ends) != 1:
            raise ValueError(f"nodes {ends} tell nobody; wanted one end")
        return ends[0]

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits of its content's SHA-256."""
        return hashlib.sha256(json.dumps(self.record()).encode()).hexdigest()[:16]

    def record(self) -> dict[str, Any]:
        """As JSON has it; floats keep every bit."""
        nodes = [who if isinstance(who, str) else list(who) for who in self.nodes]
        record: dict[str, Any] = {"edges": [list(edge) for edge in self.edges], "nodes": nodes}
        return record | ({"instructions": list(self.instructions)} if self.instructions else {})


def candidate_of(record: Mapping[str, Any]) -> Candidate:
    """The candidate of a `Candidate.record`."""
    return Candidate(
        tuple((int(u), int(v)) for u, v in record["edges"]),
        tuple(who if isinstance(who, str) else tuple(map(float, who)) for who in record["nodes"]),
        tuple(record.get("instructions", ())),
    )


def candidate(edges: Sequence[tuple[int, int]], nodes: Sequence[Who], instructions: Sequence[str] = ()) -> Candidate:
    """A candidate with its edges in order, and without instructions where all are the default."""
    own = tuple(instructions) if any(name != "default" for name in instructions) else ()
    return Candidate(tuple(sorted(set(edges))), tuple(nodes), own)


def chain(nodes: Sequence[Who]) -> Candidate:
    """Each tells the next one."""
    return candidate([(node, node + 1) for node in range(len(nodes) - 1)], nodes)


def star(nodes: Sequence[Who]) -> Candidate:
    """All others tell the last one."""
    end = len(nodes) - 1
    return candidate([(node, end) for node in range(end)], nodes)


@dataclass(frozen=True)
class Proposal:
    """A candidate as an optimizer proposes it.

    Attributes:
      candidate: the candidate.
      parents: keys of those that it was made of.
      change: names of the moves that made it.
    """

    candidate: Candidate
    parents: tuple[str, ...] = ()
    change: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scored:
    """A proposal after it was evaluated.

    Attributes:
      proposal: the proposal.
      utility: on dev; None where it left the race before it had answered all of dev.
      scores: on each dev question, its share in the utility times the number of questions; NaN where not asked.
      calls: charged for it: answers of models that no candidate before it had needed.
    """

    proposal: Proposal
    utility: float | None
    scores: tuple[float, ...]
    calls: int

    @property
    def candidate(self) -> Candidate:
        """The candidate."""
        return self.proposal.candidate

    @property
    def finished(self) -> bool:
        """Whether it has answered all of dev."""
        return self.utility is not None


@dataclass(frozen=True)
class Space:
    """What candidates of a search may be.

    Attributes:
      experts: names of the pool's initial experts; coefficients have one number for each.
      composites: names of the composites.
      instructions: names among which a node's may be exchanged; fewer than two are no choice.
      starts: node -> name of its instruction at first, of those that begin with another than the default.
      named: names of all instructions that there are.
      max_nodes: nodes that a candidate has at most.
      questions: of dev.
    """

    experts: tuple[str, ...]
    composites: tuple[str, ...]
    instructions: tuple[str, ...] = ()
    starts: Mapping[int, str] = field(default_factory=dict)
    named: tuple[str, ...] = ("default",)
    max_nodes: int = 9
    questions: int = 0

    @property
    def initial(self) -> tuple[Who, ...]:
        """Everybody who can be at a node as the search begins: the initial experts, then the composites."""
        n = len(self.experts)
        return (*(tuple(float(i == j) for j in range(n)) for i in range(n)), *self.composites)

    def check(self, one: Candidate) -> None:
        """Raises ValueError, in words for people, for a candidate that cannot be evaluated."""
        nodes = len(one.nodes)
        if not 1 <= nodes <= self.max_nodes:
            raise ValueError(f"it has {nodes} nodes; wanted 1 to {self.max_nodes} (--max_nodes)")
        for u, v in one.edges:
            if not (0 <= u < nodes and 0 <= v < nodes) or u == v:
                raise ValueError(f"it has the edge {u} -> {v}; wanted two of its nodes 0 to {nodes - 1}")
        if len(set(one.edges)) < len(one.edges):
            raise ValueError("it has an edge twice")
        _ = one.order, one.end
        for node, who in enumerate(one.nodes):
            if isinstance(who, str):
                if who not in self.composites:
                    there = ", ".join(self.composites) or "none"
                    raise ValueError(f"node {node} is {who!r}; composites are: {there}")
            elif len(who) != len(self.experts) or not all(map(math.isfinite, who)):
                raise ValueError(f"node {node} has the coefficients {list(who)}; wanted {len(self.experts)} numbers")
        if one.instructions and len(one.instructions) != nodes:
            raise ValueError(f"it has {len(one.instructions)} instructions for {nodes} nodes")
        if unknown := sorted(set(one.instructions) - set(self.named)):
            raise ValueError(f"a node has the instruction {unknown[0]!r}; wanted of: {', '.join(self.named)}")
