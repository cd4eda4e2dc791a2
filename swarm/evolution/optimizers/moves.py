"""Changes that make a candidate of another one: of who is at a node, of edges, nodes and instructions."""

from collections.abc import Callable, Sequence

import numpy as np

from swarm.evolution.candidate import Candidate, Space, Who, candidate

Move = Callable[[Space, Candidate, Candidate, np.random.Generator], Candidate | None]
"""(space, parent, another parent, rng) -> a child; None where this cannot be done to this parent."""

GRID = 4


def replace_member(space: Space, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate:
    """A node gets one of the initial members."""
    return _with(one, _node(one, rng), space.initial[rng.integers(len(space.initial))])


def mix(space: Space, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate | None:
    """A node's expert moves towards an initial one or one of either parent's, by U(-.3, .8) of the way."""
    node = _node(one, rng)
    targets = [who for who in (*space.initial, *one.nodes, *other.nodes) if not isinstance(who, str)]
    own, target = one.nodes[node], targets[rng.integers(len(targets))]
    if isinstance(own, str):
        return None
    return _with(one, node, _row(_array(own) + rng.uniform(-0.3, 0.8) * (_array(target) - _array(own))))


def noise(space: Space, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate | None:
    """A node's coefficients get Gaussian noise, of all nodes that share them."""
    own = one.nodes[_node(one, rng)]
    if isinstance(own, str):
        return None
    new = _row(_array(own) + rng.choice((0.1, 0.2, 0.4)) * rng.normal(size=len(own)))
    return candidate(one.edges, [new if who == own else who for who in one.nodes], one.instructions)


def step(space: Space, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate | None:
    """One of a node's coefficients gets Gaussian noise of .2, .4 or .8."""
    node = _node(one, rng)
    own = one.nodes[node]
    if isinstance(own, str):
        return None
    values = _array(own)
    values[rng.integers(len(values))] += rng.choice((0.2, 0.4, 0.8)) * rng.normal()
    return _with(one, node, _row(values))


def swap(space: Space, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate | None:
    """Two nodes exchange their members."""
    if len(one.nodes) < 2:
        return None
    a, b = rng.choice(len(one.nodes), size=2, replace=False)
    nodes = list(one.nodes)
    nodes[a], nodes[b] = nodes[b], nodes[a]
    return candidate(one.edges, nodes, one.instructions)


def move_edge(space: Space, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate | None:
    """A node tells another one instead of one that it tells."""
    if not one.edges:
        return None
    u, v = one.edges[rng.integers(len(one.edges))]
    behind = [node for node in range(len(one.nodes)) if node not in (*_before(one, u), u, v)]
    if not behind:
        return None
    target = behind[rng.integers(len(behind))]
    edges = [edge for edge in one.edges if edge != (u, v)]
    return candidate([*edges, (u, target)], one.nodes, one.instructions)


def add_edge(space: Space, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate | None:
    """A node tells a further one."""
    u = _node(one, rng)
    if u == one.end:
        return None
    there = {v for source, v in one.edges if source == u}
    free = [node for node in range(len(one.nodes)) if node not in {*_before(one, u), u, *there}]
    return candidate([*one.edges, (u, free[rng.integers(len(free))])], one.nodes, one.instructions) if free else None


def drop_edge(space: Space, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate | None:
    """A node that tells several tells one less."""
    sources = [u for u, _ in one.edges]
    spare = [edge for edge in one.edges if sources.count(edge[0]) > 1]
    if not spare:
        return None
    gone = spare[rng.integers(len(spare))]
    return candidate([edge for edge in one.edges if edge != gone], one.nodes, one.instructions)


def add_leaf(space: Space, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate | None:
    """A new node with an initial member tells one of the others."""
    return _grown(space, one, [(len(one.nodes), _node(one, rng))], rng)


def add_end(space: Space, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate | None:
    """A new node with an initial member, told by the end and perhaps one more, has the last word."""
    told = {one.end, _node(one, rng)} if rng.uniform() < 0.5 else {one.end}
    return _grown(space, one, [(node, len(one.nodes)) for node in sorted(told)], rng)


def drop_node(space: Space, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate | None:
    """A node goes; who told it tells whom it told."""
    if len(one.nodes) < 2:
        return None
    gone = _node(one, rng)
    sources, targets = one.told_by[gone], [v for u, v in one.edges if u == gone]
    if gone == one.end:  # the last word goes to one of those that had told it; the others tell that one
        heir = sources[rng.integers(len(sources))]
        targets = [heir]
        if any(heir in _before(one, source) for source in sources):
            return None
    edges = [edge for edge in one.edges if gone not in edge]
    edges += [(u, v) for u in sources for v in targets if u != v]
    return _without(one, {gone}, edges)


def drop_leaf(space: Space, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate | None:
    """A node that nobody tells goes."""
    leaves = [node for node in range(len(one.nodes)) if not one.told_by[node] and node != one.end]
    if not leaves:
        return None
    gone = leaves[rng.integers(len(leaves))]
    return _without(one, {gone}, [edge for edge in one.edges if gone not in edge])


def exchange_instruction(space: Space, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate | None:
    """A node is asked by another instruction."""
    if len(space.instructions) < 2:
        return None
    now = list(one.instructions or ("default",) * len(one.nodes))
    node = _node(one, rng)
    others = [name for name in space.instructions if name != now[node]]
    now[node] = others[rng.integers(len(others))]
    return candidate(one.edges, one.nodes, now)


def graft(space: Space, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate | None:
    """Crossover: a node and all before it make way for such a part of another parent."""
    at, scion = _node(one, rng), _node(other, rng)
    before = _before(one, at)
    gone = {at, *(node for node in before if all(v in {*before, at} for u, v in one.edges if u == node))}
    taken = sorted({scion, *_before(other, scion)})
    kept = [node for node in range(len(one.nodes)) if node not in gone]
    if len(kept) + len(taken) > space.max_nodes:
        return None
    new = {node: number for number, node in enumerate(kept)}
    own = {node: len(kept) + number for number, node in enumerate(taken)}
    root = own[scion]
    edges = [(new[u], new.get(v, root)) for u, v in one.edges if u in new and (v in new or v == at)]
    edges += [(root, new[v]) for u, v in one.edges if u == at and v in new]
    edges += [(own[u], own[v]) for u, v in other.edges if u in own and v in own]
    nodes = [*(one.nodes[node] for node in kept), *(other.nodes[node] for node in taken)]
    first, second = (each.instructions or ("default",) * len(each.nodes) for each in (one, other))
    return candidate(edges, nodes, [*(first[node] for node in kept), *(second[node] for node in taken)])


def cross_members(space: Space, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate | None:
    """Crossover: a node gets the member of a node of another parent."""
    return _with(one, _node(one, rng), other.nodes[_node(other, rng)])


def rounded(one: Candidate) -> Candidate:
    """The candidate with coefficients at multiples of 1 / `GRID`.

    Nodes and candidates so share experts, whose answers are known, more often; and there are fewer systems among which
    the one that fits dev by chance can be found.
    """
    nodes = [who if isinstance(who, str) else _row(np.round(_array(who) * GRID) / GRID + 0.0) for who in one.nodes]
    return candidate(one.edges, nodes, one.instructions)


def _node(one: Candidate, rng: np.random.Generator) -> int:
    return int(rng.integers(len(one.nodes)))


def _array(who: Who) -> np.ndarray:
    return np.array(who, dtype=np.float64)


def _row(values: np.ndarray) -> Who:
    return tuple(values.tolist())


def _with(one: Candidate, node: int, who: Who) -> Candidate:
    return candidate(one.edges, [*one.nodes[:node], who, *one.nodes[node + 1 :]], one.instructions)


def _before(one: Candidate, node: int) -> set[int]:
    """The nodes from which a way leads to this one."""
    found: set[int] = set()
    waiting = [node]
    while waiting:
        for source in one.told_by[waiting.pop()]:
            if source not in found:
                found.add(source)
                waiting.append(source)
    return found


def _grown(
    space: Space, one: Candidate, edges: Sequence[tuple[int, int]], rng: np.random.Generator
) -> Candidate | None:
    if len(one.nodes) >= space.max_nodes:
        return None
    who = space.initial[rng.integers(len(space.initial))]
    instructions = [*one.instructions, "default"] if one.instructions else []
    return candidate([*one.edges, *edges], [*one.nodes, who], instructions)


def _without(one: Candidate, gone: set[int], edges: Sequence[tuple[int, int]]) -> Candidate:
    """The candidate without these nodes and with these edges; the others keep their order."""
    kept = [node for node in range(len(one.nodes)) if node not in gone]
    new = {node: number for number, node in enumerate(kept)}
    instructions = [one.instructions[node] for node in kept] if one.instructions else []
    return candidate([(new[u], new[v]) for u, v in edges], [one.nodes[node] for node in kept], instructions)
