"""A DAG in layers, to be drawn: edges go from layer to layer, beside all nodes (Sugiyama et al., 1981)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx
import numpy as np

Vertex = tuple[int, int]  # a node in its own layer, or further right its track: what it tells passes there
SWEEPS = 24


@dataclass(frozen=True)
class Layers:
    """Where a DAG's nodes are drawn.

    Attributes:
      columns: node -> its layer, counted from the left.
      layers: of each, the vertices from top to bottom.
      heights: vertex -> its vertical position, at least 1 from the next vertex of its layer.
      paths: edge -> the vertices along it, one in each layer from its source's to its target's.
    """

    columns: Mapping[int, int]
    layers: tuple[tuple[Vertex, ...], ...]
    heights: Mapping[Vertex, float]
    paths: Mapping[tuple[int, int], tuple[Vertex, ...]]


def in_layers(graph: nx.DiGraph) -> Layers:
    """The layers of a DAG: nodes that tell nobody to the right, every other one left of all that it tells.

    Where a node tells several, the edges share one track to the right, so a layer has no more vertices than there are
    nodes. Raises networkx.NetworkXUnfeasible for a graph with a cycle.
    """
    columns = _columns(graph)
    paths = {
        (source, target): (
            *((source, column) for column in range(columns[source], columns[target])),
            (target, columns[target]),
        )
        for source, target in sorted(graph.edges)
    }
    there = {(node, column) for node, column in columns.items()} | {one for path in paths.values() for one in path}
    layers = [sorted(one for one in there if one[1] == column) for column in range(max(columns.values()) + 1)]
    links = {link for path in paths.values() for link in pairwise(path)}
    layers = _with_few_crossings(layers, links)
    return Layers(columns, tuple(map(tuple, layers)), _heights(layers, links), paths)


def _columns(graph: nx.DiGraph) -> dict[int, int]:
    """Node -> its layer, as far to the right as what it tells allows."""
    to_the_end: dict[int, int] = {}
    for node in reversed(list(nx.topological_sort(graph))):
        to_the_end[node] = max((1 + to_the_end[after] for after in graph.successors(node)), default=0)
    last = max(to_the_end.values(), default=0)
    return {node: last - distance for node, distance in to_the_end.items()}


def _with_few_crossings(layers: list[list[Vertex]], links: set[tuple[Vertex, Vertex]]) -> list[list[Vertex]]:
    """The layers in the best order that sweeps to the right and to the left come by (the barycenter heuristic)."""
    before, after = _neighbours(links)
    best, fewest = layers, _crossings(layers, links)
    for sweep in range(SWEEPS):
        order = range(1, len(layers)) if sweep % 2 == 0 else range(len(layers) - 2, -1, -1)
        layers, near = [list(layer) for layer in layers], before if sweep % 2 == 0 else after
        for number in order:
            beside = layers[number - 1 if sweep % 2 == 0 else number + 1]
            rank = {vertex: index / max(len(beside) - 1, 1) for index, vertex in enumerate(beside)}
            own = {vertex: index / max(len(layers[number]) - 1, 1) for index, vertex in enumerate(layers[number])}
            weights = {
                vertex: float(np.mean([rank[other] for other in near[vertex]])) if near.get(vertex) else own[vertex]
                for vertex in layers[number]
            }
            layers[number].sort(key=lambda vertex, weights=weights: weights[vertex])  # type: ignore[misc]
        if (crossings := _crossings(layers, links)) < fewest:
            best, fewest = layers, crossings
    return best


def _neighbours(
    links: set[tuple[Vertex, Vertex]],
) -> tuple[dict[Vertex, list[Vertex]], dict[Vertex, list[Vertex]]]:
    """Vertex -> those before it, and vertex -> those after it."""
    before: dict[Vertex, list[Vertex]] = {}
    after: dict[Vertex, list[Vertex]] = {}
    for left, right in sorted(links):
        before.setdefault(right, []).append(left)
        after.setdefault(left, []).append(right)
    return before, after


def _crossings(layers: Sequence[Sequence[Vertex]], links: set[tuple[Vertex, Vertex]]) -> int:
    """How often two links between the same layers cross."""
    rank = {vertex: index for layer in layers for index, vertex in enumerate(layer)}
    count = 0
    for column in range(len(layers) - 1):
        ends = np.array([(rank[u], rank[v]) for u, v in sorted(links) if u[1] == column])
        if len(ends):
            left, right = np.sign(ends[:, None] - ends[None]).transpose(2, 0, 1)
            count += int((left * right < 0).sum()) // 2
    return count


def _heights(layers: Sequence[Sequence[Vertex]], links: set[tuple[Vertex, Vertex]]) -> dict[Vertex, float]:
    """Vertical positions in the layers' orders, near those of neighbours and at least 1 apart."""
    before, after = _neighbours(links)
    heights = {vertex: index - (len(layer) - 1) / 2 for layer in layers for index, vertex in enumerate(layer)}
    for sweep in range(SWEEPS):
        near = before if sweep % 2 == 0 else after
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted = [
                float(np.mean([heights[other] for other in near[vertex]])) if near.get(vertex) else heights[vertex]
                for vertex in layer
            ]
            heights |= zip(layer, _apart(wanted), strict=True)
    return heights


def _apart(wanted: Sequence[float]) -> list[float]:
    """The positions nearest to those wanted (least squares) that keep their order and are at least 1 apart."""
    blocks: list[tuple[float, int]] = []  # mean of what its members want, less their index; how many they are
    for index, value in enumerate(wanted):
        blocks.append((value - index, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (right, more), (left, many) = blocks.pop(), blocks.pop()
            blocks.append(((left * many + right * more) / (many + more), many + more))
    firsts = [mean for mean, count in blocks for _ in range(count)]
    return [mean + index for index, mean in enumerate(firsts)]
