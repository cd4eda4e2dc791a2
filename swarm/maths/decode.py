"""G-decode: a continuous adjacency matrix becomes a directed acyclic graph (arXiv 2502.04510, algorithm 1)."""

import heapq
from dataclasses import dataclass

import networkx as nx
import numpy as np

from swarm.maths.choices import EDGES, END_RULES, RENORMALISE


@dataclass(frozen=True)
class DecodeRule:
    """How a continuous matrix is decoded into a DAG.

    Attributes:
      top_p: nucleus of the draws; 0 takes the most probable node (ties: the highest index) and needs no generator.
      edges: tree gives every node but the end one successor (the published program); bernoulli gives it every earlier
        node with that node's softmax probability, and at least one (the paper).
      renormalise: of the kept probabilities; ordinary divides by their sum, softmax takes a second softmax as the
        published program does.
      clamp: take negative strengths for 0.
      end: softmax draws the end node from the softmax of 1 / out-strength; lowest takes the weakest sender.
      strict: raise ValueError where the published program crashes, instead of going on with equal probabilities.
    """

    top_p: float = 0.0
    edges: str = "tree"
    renormalise: str = "ordinary"
    clamp: bool = False
    end: str = "softmax"
    strict: bool = False


PUBLISHED = DecodeRule(renormalise="softmax", strict=True)
"""The published program's reading."""


def decode(
    adjacency: np.ndarray,
    top_p: float | None = None,
    rng: np.random.Generator | None = None,
    rule: DecodeRule = DecodeRule(),
) -> nx.DiGraph:
    """The DAG that a matrix stands for: nodes 0 .. n-1, an edge u -> v where u tells v its answer.

    `adjacency` has shape (n, n); its element (u, v) is the strength of "u tells v". It is never changed. The graph's
    only node without a successor is its end, which speaks for the whole system (`end_node`). `top_p` overrides the
    rule's; a positive one, or bernoulli edges, need `rng`.

    Raises ValueError for a matrix that is not square, is empty or holds a number that is not finite, for a missing
    generator, and, under a strict rule, where no node can be chosen.
    """
    matrix = _checked(adjacency, rule)
    top_p = rule.top_p if top_p is None else top_p
    if rng is None and (top_p > 0 or rule.edges == "bernoulli"):
        raise ValueError("decoding with top_p > 0 or bernoulli edges draws at random: hand in rng")
    return _grow(matrix, top_p, rng, rule)[0]


def decode_again(adjacency: np.ndarray, rule: DecodeRule = PUBLISHED) -> nx.DiGraph:
    """The DAG that the published program reads from a matrix which it has decoded once before, at top-p 0.

    Its first decoding overwrites the matrix: of every node's row it leaves only the strengths towards nodes that were
    in the graph when the node joined. An eval that asks a system twice (abstainqa) therefore has its second pass on
    another graph. Raises ValueError as `decode` does; with few nodes a row that is left without any strength is common.
    """
    first = _checked(adjacency, rule)
    return _grow(_grow(first, 0.0, None, rule)[1], 0.0, None, rule)[0]


def _grow(
    matrix: np.ndarray, top_p: float, rng: np.random.Generator | None, rule: DecodeRule
) -> tuple[nx.DiGraph, np.ndarray]:
    """The DAG, built from its end outwards, and what the published program would leave of the matrix."""
    graph, count, left = nx.DiGraph(), len(matrix), matrix.copy()
    graph.add_nodes_from(range(count))
    if count == 1:
        return graph, left
    everyone = np.ones(count, dtype=bool)
    strengths = matrix.sum(axis=1)  # (n,) how much each node sends
    end = _pick(_end_probabilities(strengths, rule), everyone, top_p, rng, rule)
    inside = np.zeros(count, dtype=bool)
    inside[end] = True
    while not inside.all():
        sender = _pick(_probabilities(strengths, ~inside, rule), ~inside, top_p, rng, rule)
        targets = _probabilities(matrix[sender], inside, rule)
        receivers: list[int] = []
        if rule.edges == "bernoulli":
            assert rng is not None
            receivers = np.flatnonzero(rng.uniform(size=count) < targets).tolist()
        for receiver in receivers or [_pick(targets, inside, top_p, rng, rule)]:
            graph.add_edge(sender, receiver)
        left[sender, ~inside] = 0.0
        inside[sender] = True
    return graph, left


def end_node(graph: nx.DiGraph) -> int:
    """The end node, whose answer is the system's: the only one without a successor.

    Raises ValueError if there are several, or if the graph has a circle.
    """
    ends = [node for node in graph if graph.out_degree(node) == 0]
    if len(ends) != 1 or not nx.is_directed_acyclic_graph(graph):
        raise ValueError(f"a system's graph is acyclic with one end, got end nodes {ends} of {len(graph)} nodes")
    return ends[0]


def topological_order(graph: nx.DiGraph) -> list[int]:
    """The nodes so that every one comes after its predecessors, in the published program's order.

    It scans the node ids upwards again and again and takes each node whose predecessors are all taken, those taken
    earlier in the same scan included. The order decides which part of a long context a node reads.
    """
    # A node that becomes ready during a scan waits for the next scan only if its id lies behind the scan.
    waiting = {node: graph.in_degree(node) for node in graph}
    ready = [(0, node) for node, degree in waiting.items() if degree == 0]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        scan, node = heapq.heappop(ready)
        order.append(node)
        for successor in graph.successors(node):
            waiting[successor] -= 1
            if waiting[successor] == 0:
                heapq.heappush(ready, (scan if successor > node else scan + 1, successor))
    return order


def _checked(adjacency: np.ndarray, rule: DecodeRule) -> np.ndarray:
    matrix = np.asarray(adjacency, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise ValueError(f"an adjacency matrix has shape (n, n) with n >= 1, got {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("an adjacency matrix holds finite numbers only")
    for given, known in ((rule.edges, EDGES), (rule.renormalise, RENORMALISE), (rule.end, END_RULES)):
        if given not in known:
            raise ValueError(f"a decode rule knows {', '.join(known)}; got {given!r}")
    return np.maximum(matrix, 0.0) if rule.clamp else matrix


def _end_probabilities(strengths: np.ndarray, rule: DecodeRule) -> np.ndarray:
    everyone = np.ones(len(strengths), dtype=bool)
    if rule.end == "lowest":
        # one-hot; ties go to the highest index, as everywhere
        lowest = np.zeros(len(strengths))
        lowest[np.flatnonzero(strengths == strengths.min())[-1]] = 1.0
        return lowest
    with np.errstate(divide="ignore", over="ignore"):
        # -0.0 becomes 0.0, whose inverse is positive: nobody sends less than who sends nothing
        inverse = 1.0 / np.where(strengths == 0, 0.0, strengths)
    return _probabilities(inverse, everyone, rule)


def _probabilities(values: np.ndarray, allowed: np.ndarray, rule: DecodeRule) -> np.ndarray:
    """Softmax over the allowed entries, shape (n,); an entry whose exponential is exactly 1 counts as not allowed.

    That last rule is the published program's (it marks "not allowed" by 0). Where it leaves nobody, or where the
    exponential overflows, the published program crashes; here the allowed entries are then taken as they are.
    """
    with np.errstate(over="ignore"):
        powers = np.exp(np.where(allowed, values, 0.0))
    powers[(powers == 1.0) | ~allowed] = 0.0
    total = powers.sum()
    if np.isfinite(total) and total > 0:
        return powers / total
    if rule.strict:
        raise ValueError(f"no node can be chosen by the softmax of {values[allowed].tolist()}")
    top = values[allowed].max()
    if np.isinf(top):
        powers = (allowed & (values == top)).astype(float)
    else:
        powers = np.exp(np.where(allowed, values - top, -np.inf))
    return powers / powers.sum()


def _pick(
    probabilities: np.ndarray, allowed: np.ndarray, top_p: float, rng: np.random.Generator | None, rule: DecodeRule
) -> int:
    """One node from the smallest set of most probable ones whose probability exceeds `top_p`."""
    order = np.lexsort((np.arange(len(probabilities)), probabilities))[::-1]
    order = order[allowed[order] & (probabilities[order] > 0)]
    kept = order[: int(np.searchsorted(np.cumsum(probabilities[order]), top_p, side="right")) + 1]
    if len(kept) == 1 or rng is None:
        return int(kept[0])
    weights = probabilities[kept]
    if rule.renormalise == "softmax":
        weights = np.exp(weights)
    return int(rng.choice(kept, p=weights / weights.sum()))
