"""Layers of a DAG: every edge passes beside all nodes, whatever the graph."""

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.maths.layers import in_layers
from swarm.system.system import graph_of


@st.composite
def dags(draw, most=20):
    """A DAG of up to 20 nodes with one end."""
    n = draw(st.integers(1, most))
    rng, share = np.random.default_rng(draw(st.integers(0, 10_000))), draw(st.sampled_from([0.05, 0.2, 0.6, 1.0]))
    order = rng.permutation(n).tolist()
    edges = [(order[i], order[j]) for i in range(n) for j in range(i + 1, n) if rng.uniform() < share]
    graph = graph_of(n, edges)
    graph.add_edges_from((node, order[-1]) for node in order[:-1] if graph.out_degree(node) == 0)
    return graph


@settings(deadline=None, max_examples=60)
@given(dags())
def test_edges_go_from_layer_to_layer_beside_all_nodes(graph):
    layout = in_layers(graph)
    assert set(layout.columns) == set(graph) and set(layout.paths) == set(graph.edges)
    own = {(node, column) for node, column in layout.columns.items()}
    assert own <= set(layout.heights)
    for (source, target), path in layout.paths.items():
        assert path[0] == (source, layout.columns[source]) and path[-1] == (target, layout.columns[target])
        assert all(right[1] == left[1] + 1 for left, right in pairwise(path)), "no layer is skipped"
        assert own.isdisjoint(path[1:-1]), "between its ends an edge is at no node"
    for layer in layout.layers:
        heights = [layout.heights[vertex] for vertex in layer]
        assert all(lower - upper > 1 - 1e-6 for upper, lower in pairwise(heights))
        assert len(layer) <= len(graph)
    assert sum(map(len, layout.layers)) == len(layout.heights)


@settings(deadline=None, max_examples=30)
@given(dags())
def test_who_tells_nobody_is_furthest_to_the_right(graph):
    columns = in_layers(graph).columns
    [end] = [node for node in graph if graph.out_degree(node) == 0]
    assert columns[end] == max(columns.values()) and min(columns.values()) == 0
    assert all(columns[u] < columns[v] for u, v in graph.edges)


def test_crossings_are_undone():
    """Two chains that lie across each other in the order of their numbers."""
    layout = in_layers(graph_of(5, [(0, 3), (1, 2), (2, 4), (3, 4)]))
    first, second = ([vertex[0] for vertex in layer] for layer in layout.layers[:2])
    assert [{0: 3, 1: 2}[node] for node in first] == second


def test_a_cycle_is_refused():
    with pytest.raises(nx.NetworkXUnfeasible):
        in_layers(nx.DiGraph([(0, 1), (1, 0)]))
