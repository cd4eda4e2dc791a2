"""G-decode: the goldens of the algorithm, its properties, and what each option changes."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from swarm.maths.decode import PUBLISHED, DecodeRule, decode, decode_again, end_node, topological_order

GOLDEN = [
    ([[0, 8, 3, 6], [2, 0, 4, 7], [4, 3, 0, 5], [4, 5, 2, 0]], [3, 3, 3, -1], [0, 1, 2, 3]),
    (
        [
            [0, 0.9, 0.1, 0.4, 0.3],
            [0.2, 0, 0.7, 0.6, 0.5],
            [0.3, 0.8, 0, 0.1, 0.1],
            [0.5, 0.1, 0.6, 0, 0.9],
            [0.4, 0.2, 0.2, 0.1, 0],
        ],
        [1, 3, 1, 4, -1],
        [0, 2, 1, 3, 4],
    ),
    ([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], [2, 2, -1], [0, 1, 2]),
    ([[0, -0.4, 0.1], [0.6, 0, 0.2], [0.3, 0.4, 0]], [2, 2, -1], [0, 1, 2]),
]


def matrices(low=2, high=8, least=-2.0, most=2.0):
    numbers = st.floats(least, most, allow_subnormal=False)

    def square(n):
        return arrays(np.float64, (n, n), elements=numbers).map(lambda a: a * (1 - np.eye(n)))

    return st.integers(low, high).flatmap(square)


def seeded(seed, n):
    return np.random.default_rng(seed).uniform(size=(n, n)) * (1 - np.eye(n))


def tree(graph):
    return [next(iter(graph.successors(node)), -1) for node in sorted(graph)]


@pytest.mark.parametrize(("rows", "to", "order"), GOLDEN)
@pytest.mark.parametrize("rule", [DecodeRule(), PUBLISHED])
def test_golden_trees(rows, to, order, rule):
    graph = decode(np.array(rows, dtype=float), rule=rule)
    assert tree(graph) == to
    assert topological_order(graph) == order


@given(matrices(), st.sampled_from([0.0, 0.5, 0.8, 1.0]), st.integers(0, 5))
def test_every_matrix_gives_a_tree_and_is_left_alone(matrix, top_p, seed):
    before = matrix.copy()
    graph = decode(matrix, top_p, np.random.default_rng(seed))
    assert np.array_equal(matrix, before)
    assert graph.number_of_edges() == len(matrix) - 1
    assert nx.is_directed_acyclic_graph(graph)
    assert graph.out_degree(end_node(graph)) == 0
    again = decode(matrix, top_p, np.random.default_rng(seed))
    assert list(again.edges) == list(graph.edges)


@given(matrices(), st.integers(0, 5))
def test_bernoulli_edges_keep_one_end_and_no_circle(matrix, seed):
    graph = decode(matrix, rng=np.random.default_rng(seed), rule=DecodeRule(edges="bernoulli"))
    assert nx.is_directed_acyclic_graph(graph)
    assert all(graph.out_degree(node) >= 1 for node in graph if node != end_node(graph))


@given(st.integers(0, 10_000), st.integers(2, 9))
def test_renaming_the_nodes_renames_the_tree(seed, n):
    matrix = seeded(seed, n)  # uniform draws: no ties
    names = np.random.default_rng(seed + 1).permutation(n)
    renamed = np.empty_like(matrix)
    renamed[np.ix_(names, names)] = matrix
    edges = {(int(names[u]), int(names[v])) for u, v in decode(matrix).edges}
    assert set(decode(renamed).edges) == edges


def test_bernoulli_edges_are_as_dense_as_published():
    rng = np.random.default_rng(0)
    graphs = [decode(seeded(seed, 10), rng=rng, rule=DecodeRule(edges="bernoulli")) for seed in range(400)]
    assert np.mean([g.number_of_edges() for g in graphs]) == pytest.approx(11.5, abs=0.3)
    leaves = [sum(g.in_degree(v) == 0 for v in g) for g in graphs]
    assert np.mean(leaves) == pytest.approx(4.3, abs=0.2)


def test_trees_of_ten_have_the_published_shape():
    graphs = [decode(seeded(seed, 10)) for seed in range(1000)]
    leaves = [sum(g.in_degree(v) == 0 for v in g) for g in graphs]
    levels = [nx.dag_longest_path_length(g) + 1 for g in graphs]
    assert np.mean(leaves) == pytest.approx(5.0, abs=0.1)
    assert np.mean(levels) == pytest.approx(4.6, abs=0.15)
    assert np.mean([max(d for _, d in g.in_degree()) for g in graphs]) == pytest.approx(3.35, abs=0.15)


def test_top_p_renormalises_as_the_rule_says():
    """q = [.5, .3, .2] at p = .6 keeps two: drawn .625 / .375 ordinarily, .550 / .450 by the second softmax."""
    from swarm.maths.decode import _pick

    def share(rule):
        rng = np.random.default_rng(1)
        allowed = np.ones(3, dtype=bool)
        return np.mean([_pick(np.array([0.5, 0.3, 0.2]), allowed, 0.6, rng, rule) == 0 for _ in range(20_000)])

    assert share(DecodeRule()) == pytest.approx(0.625, abs=0.012)
    assert share(PUBLISHED) == pytest.approx(0.550, abs=0.012)


def test_the_running_sum_must_exceed_top_p():
    """At p = .5 a first probability of exactly .5 is not enough: two nodes are kept."""
    from swarm.maths.decode import _pick

    rng = np.random.default_rng(0)
    drawn = {_pick(np.array([0.5, 0.25, 0.25]), np.ones(3, bool), 0.5, rng, DecodeRule()) for _ in range(100)}
    assert drawn == {0, 2}


@pytest.mark.parametrize(
    "matrix",
    [
        [[0, 0, 0], [0.5, 0, 0.2], [0.1, 0.3, 0]],  # a node that sends nothing: 1 / 0
        [[0, 1e-4, 0], [0.5, 0, 0.2], [0.1, 0.3, 0]],  # exp(1 / 1e-4) overflows
        [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
    ],
)
def test_where_the_published_program_crashes(matrix):
    matrix = np.array(matrix, dtype=float)
    graph = decode(matrix)
    assert graph.number_of_edges() == 2
    assert end_node(graph) == int(np.flatnonzero(matrix.sum(axis=1) == matrix.sum(axis=1).min())[-1])
    with pytest.raises(ValueError, match="no node can be chosen"):
        decode(matrix, rule=PUBLISHED)


def test_an_exact_zero_means_not_allowed():
    """Node 1 has only node 0 inside and a strength of exactly 0 towards it; with another way it takes the other."""
    matrix = np.array([[0, 0.1, 0.1], [0.0, 0, -5.0], [3, 3, 0.0]])
    assert end_node(decode(matrix, rule=DecodeRule(end="lowest"))) == 1
    matrix = np.array([[0, 0.1, 0.1, 0.1], [0.0, 0, -1.0, 4.0], [2, 1, 0.0, 0.2], [5, 5, 5, 0]])
    graph = decode(matrix)
    assert end_node(graph) == 0
    assert list(graph.successors(1)) == [3], "strength 4 to node 3"


def test_a_single_node_is_a_system():
    assert list(decode(np.zeros((1, 1)))) == [0]
    assert end_node(decode(np.zeros((1, 1)))) == 0


def test_options():
    negative = np.array([[0, -0.4, 0.1], [0.6, 0, 0.2], [0.3, 0.4, 0]])
    assert end_node(decode(negative)) == 2
    assert end_node(decode(negative, rule=DecodeRule(end="lowest"))) == 0
    assert end_node(decode(negative, rule=DecodeRule(clamp=True))) == 0


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((2, 3)), r"shape \(n, n\)"),
        (np.zeros((0, 0)), r"shape \(n, n\)"),
        (np.full((2, 2), np.nan), "finite"),
    ],
)
def test_refused_matrices(matrix, message):
    with pytest.raises(ValueError, match=message):
        decode(matrix)


def test_refused_rules():
    with pytest.raises(ValueError, match="hand in rng"):
        decode(seeded(0, 3), 0.8)
    with pytest.raises(ValueError, match="tree, bernoulli; got 'star'"):
        decode(seeded(0, 3), rule=DecodeRule(edges="star"))


@settings(max_examples=50)
@given(st.integers(0, 1000), st.integers(2, 8))
def test_topological_order_is_the_plain_scan(seed, n):
    graph = decode(seeded(seed, n), rng=np.random.default_rng(seed), rule=DecodeRule(edges="bernoulli"))
    waiting, order = {v: graph.in_degree(v) for v in graph}, []
    while len(order) < n:
        for node in range(n):
            if node not in order and waiting[node] == 0:
                order.append(node)
                for successor in graph.successors(node):
                    waiting[successor] -= 1
    assert topological_order(graph) == order


def read_and_spoil(matrix):
    """The published program's decoding at top-p 0, on its own terms: its row slices are views, so it writes to them."""

    def nzsoftmax(values):
        powers = np.exp(values)
        powers[powers == 1.0] = 0.0
        if not powers.sum() or not np.isfinite(powers.sum()):
            raise ZeroDivisionError
        return powers / powers.sum()

    def best(probabilities):
        return max(range(len(probabilities)), key=lambda index: (probabilities[index], index))

    n = len(matrix)
    sums = matrix.sum(axis=1)
    with np.errstate(divide="ignore", over="ignore"):
        inside = {best(nzsoftmax(1 / sums))}
    edges = []
    while len(inside) < n:
        outgoing = sums.copy()
        outgoing[list(inside)] = 0
        sender = best(nzsoftmax(outgoing))
        row = matrix[sender]
        row[[node for node in range(n) if node not in inside]] = 0
        edges.append((sender, best(nzsoftmax(row))))
        inside.add(sender)
    return sorted(edges)


@pytest.mark.parametrize("n", [4, 6, 10])
def test_the_second_decoding_is_that_of_the_spoilt_matrix(n):
    rng, others, crashes = np.random.default_rng(n), 0, 0
    for _ in range(300):
        matrix = rng.uniform(size=(n, n)) * (1 - np.eye(n))
        spoilt = matrix.copy()
        first = read_and_spoil(spoilt)
        assert sorted(decode(matrix).edges) == first
        before = matrix.copy()
        try:
            second = read_and_spoil(spoilt)
        except ZeroDivisionError:
            crashes += 1
            with pytest.raises(ValueError, match="no node can be chosen"):
                decode_again(matrix)
            continue
        assert sorted(decode_again(matrix).edges) == second
        assert (matrix == before).all()
        others += second != first
    # measured on 3,000 matrices each: another graph in 92, 99 and 100 %, a crash in 2.0, 0.5 and 0 %
    assert others > 0.85 * 300 and crashes < 0.06 * 300
