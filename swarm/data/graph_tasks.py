"""Generated graph questions with known answers.

Two styles. "small": five nodes and one word per edge, for models of a few hundred thousand parameters, for example

    A-B:2 A-C:5 C-D:1 ; degree of A

"large": graphs of any size told in sentences, in the manner of NLGraph (arXiv 2305.10037), for models that read.
Every draw comes from the generator that is passed in, and every answer is a string.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import networkx as nx
import numpy as np

SMALL_NODES = "ABCDE"
LARGEST_SMALL_WEIGHT = 5
LONGEST_SMALL_PATH = 12
LARGEST_WEIGHT = 10
MAX_REJECTED = 2000  # draws in a row, before a demand that cannot be met becomes an error instead of an endless loop

SMALL_PAIRS = tuple((u, v) for i, u in enumerate(SMALL_NODES) for v in SMALL_NODES[i + 1 :])

T = TypeVar("T")

Asked = tuple[str, str] | None
"""A question (a small one without its graph) and its answer; None if the graph drawn is not to be asked about."""


@dataclass(frozen=True)
class Skill:
    """One kind of small question.

    Attributes:
      edges: the fewest and the most edges of its graphs.
      answers: everything that can be the answer.
      ask: words and answer for a graph; rejects draws to keep the frequent answers from dominating.
    """

    edges: tuple[int, int]
    answers: tuple[str, ...]
    ask: Callable[[nx.Graph, np.random.Generator], Asked]


@dataclass(frozen=True)
class Difficulty:
    """The difficulty of large questions.

    Attributes:
      nodes: the fewest and the most nodes of a graph; each size is as likely as the others.
      density: share of all pairs of nodes that have an edge, on average.
    """

    nodes: tuple[int, int] = (8, 20)
    density: float = 0.3

    def __post_init__(self) -> None:
        fewest, most = self.nodes
        if not 5 <= fewest <= most:  # with fewer, no graph can be asked for either answer in connectivity
            raise ValueError(f"nodes must be two ascending numbers from 5 on, but got {fewest} and {most}")
        if not 0 < self.density <= 1:
            raise ValueError(f"density must be above 0 and at most 1, but got {self.density}")


def _pick(items: Sequence[T], rng: np.random.Generator) -> T:
    # Generator.choice turns its argument into an array first, which is ten times slower and loses the types.
    return items[int(rng.integers(len(items)))]


def _ask_weight(graph: nx.Graph, rng: np.random.Generator) -> Asked:
    u, v, weight = _pick(list(graph.edges(data="weight")), rng)
    return f"weight of {min(u, v)}-{max(u, v)}", str(weight)


def _ask_degree(graph: nx.Graph, rng: np.random.Generator) -> Asked:
    node = _pick(SMALL_NODES, rng)
    return f"degree of {node}", str(graph.degree[node])


def _ask_edges(graph: nx.Graph, rng: np.random.Generator) -> Asked:
    return "number of edges", str(graph.number_of_edges())


def _ask_heaviest(graph: nx.Graph, rng: np.random.Generator) -> Asked:
    heaviest = max(weight for _, _, weight in graph.edges(data="weight"))
    if heaviest == LARGEST_SMALL_WEIGHT and rng.random() < 0.5:
        return None
    return "heaviest edge", str(heaviest)


def _ask_connected(graph: nx.Graph, rng: np.random.Generator) -> Asked:
    u, v = _pick(SMALL_PAIRS, rng)
    if graph.has_edge(u, v) and rng.random() >= 0.4:
        return None
    return f"connected {u}-{v}", "yes" if nx.has_path(graph, u, v) else "no"


def _ask_shortest(graph: nx.Graph, rng: np.random.Generator) -> Asked:
    u, v = _pick(SMALL_PAIRS, rng)
    if not nx.has_path(graph, u, v):
        return None
    length = nx.dijkstra_path_length(graph, u, v)
    direct = graph.has_edge(u, v) and graph[u][v]["weight"] == length
    if length > LONGEST_SMALL_PATH or (direct and rng.random() < 0.5):
        return None
    return f"shortest path {u}-{v}", str(length)


def _numbers(first: int, last: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(first, last + 1))


SKILLS: Mapping[str, Skill] = MappingProxyType(
    {
        "weight": Skill((3, 6), _numbers(1, LARGEST_SMALL_WEIGHT), _ask_weight),
        "degree": Skill((3, 6), _numbers(0, len(SMALL_NODES) - 1), _ask_degree),
        "edges": Skill((2, 7), _numbers(2, 7), _ask_edges),
        "heaviest": Skill((3, 6), _numbers(1, LARGEST_SMALL_WEIGHT), _ask_heaviest),
        "connected": Skill((2, 4), ("yes", "no"), _ask_connected),
        "shortest": Skill((3, 6), _numbers(1, LONGEST_SMALL_PATH), _ask_shortest),
    }
)


def small_question(skill: str, held_out: bool, rng: np.random.Generator) -> tuple[str, str]:
    """A small question and its answer; its last word is the node that is asked about.

    Training draws with `held_out` False and evaluation with True (see `is_held_out`), so they never meet.
    """
    fewest, most = SKILLS[skill].edges
    while True:
        pairs = [SMALL_PAIRS[k] for k in rng.permutation(len(SMALL_PAIRS))[: rng.integers(fewest, most + 1)]]
        weights = rng.integers(1, LARGEST_SMALL_WEIGHT + 1, size=len(pairs)).tolist()
        graph = nx.Graph()
        graph.add_nodes_from(SMALL_NODES)
        graph.add_weighted_edges_from((u, v, weight) for (u, v), weight in zip(pairs, weights, strict=True))
        asked = SKILLS[skill].ask(graph, rng)
        if asked is None:
            continue
        edges = " ".join(f"{u}-{v}:{weight}" for (u, v), weight in zip(pairs, weights, strict=True))
        question = f"{edges} ; {asked[0]}"
        if is_held_out(question) == held_out:
            return question, asked[1]


def is_held_out(question: str) -> bool:
    """Whether a small question is kept for evaluation: a quarter of all, whatever the order in which its edges stand.

    There are so few graphs with two or three edges that a training run of 100,000 draws sees most of them. Content
    decides which side a question is on, so no list has to travel, and every dataset made later is unseen too.
    """
    return hashlib.sha256(_content(question).encode()).digest()[0] < 64


def _content(question: str) -> str:
    return " ".join(sorted(question.split()))


def large_question(domain: str, difficulty: Difficulty, rng: np.random.Generator) -> tuple[str, str]:
    """A question in sentences and its answer; domain is connectivity or shortest_path."""
    draw = _LARGE[domain]
    for _ in range(MAX_REJECTED):
        drawn = draw(difficulty, rng)
        if drawn is not None:
            return drawn
    raise ValueError(f"no {domain} question found with {difficulty}; change the density or the number of nodes")


def _random_graph(difficulty: Difficulty, groups: int, rng: np.random.Generator) -> nx.Graph:
    """A weighted graph with all its edges inside `groups` random groups, and with an edge at every node that it has.

    A node without edges would not be mentioned in the text, so nothing could be asked about it.
    """
    count = int(rng.integers(difficulty.nodes[0], difficulty.nodes[1] + 1))
    group = rng.integers(groups, size=count)
    edge = np.triu(rng.random((count, count)) < difficulty.density * groups, k=1)  # (count, count)
    edge &= group[:, None] == group[None, :]
    weights = rng.integers(1, LARGEST_WEIGHT + 1, size=(count, count))
    graph = nx.Graph()
    graph.add_weighted_edges_from((int(u), int(v), int(weights[u, v])) for u, v in np.argwhere(edge))
    return graph


def _listing(graph: nx.Graph, weighted: bool) -> str:
    lines = []
    for node in sorted(graph):
        names = [
            f"node {other} with weight {graph[node][other]['weight']}" if weighted else f"{other}"
            for other in sorted(graph[node])
        ]
        lines.append(f"Node {node} is connected to {', '.join(names)}.\n")
    return "".join(lines)


def _connectivity(difficulty: Difficulty, rng: np.random.Generator) -> Asked:
    # Only graphs that can be asked for either answer, so the graph alone gives nothing away; nor does a direct edge.
    graph = _random_graph(difficulty, 2, rng)
    piece = {node: k for k, nodes in enumerate(nx.connected_components(graph)) for node in nodes}
    apart = [(u, v) for u in sorted(piece) for v in sorted(piece) if u != v and not graph.has_edge(u, v)]
    joined = [(u, v) for u, v in apart if piece[u] == piece[v]]
    separate = [(u, v) for u, v in apart if piece[u] != piece[v]]
    if not joined or not separate:
        return None
    answer = _pick(("Yes", "No"), rng)
    u, v = _pick(joined if answer == "Yes" else separate, rng)
    return (
        "An undirected graph is described below.\n"
        f"{_listing(graph, weighted=False)}"
        f"Q: Is there a path between node {u} and node {v}?\nPlease answer with Yes or No only:"
    ), answer


def _shortest_path(difficulty: Difficulty, rng: np.random.Generator) -> Asked:
    graph = _random_graph(difficulty, 1, rng)
    if not graph:
        return None
    start = _pick(sorted(graph), rng)
    lengths = nx.single_source_dijkstra_path_length(graph, start)
    ends = sorted(node for node in lengths if node != start and not graph.has_edge(start, node))
    if not ends:
        return None
    end = _pick(ends, rng)
    return (
        "An undirected graph with a weight on each edge is described below.\n"
        f"{_listing(graph, weighted=True)}"
        f"Q: What is the length of the shortest path between node {start} and node {end}?\n"
        "Please answer with the length only:"
    ), str(lengths[end])


_LARGE: Mapping[str, Callable[[Difficulty, np.random.Generator], Asked]] = MappingProxyType(
    {"connectivity": _connectivity, "shortest_path": _shortest_path}
)

STYLES: Mapping[str, tuple[str, ...]] = MappingProxyType({"small": tuple(SKILLS), "large": tuple(_LARGE)})
"""Style -> its domains."""

# A small answer is one token and the end of the text; large questions are put as the published program puts NLGraph's.
_GENERATION = {"small": {"max_new_tokens": 4}, "large": {"max_new_tokens": 80, "chat": True}}


def make_dataset(style: str, dev: int, test: int, seed: int, difficulty: Difficulty | None = None) -> dict[str, Any]:
    """A dataset file's content: the style's domains in turn, no question twice, dev and test apart.

    `difficulty` is for large questions only. What is in test does not depend on how many dev questions there are.
    """
    if style not in STYLES:
        raise ValueError(f"unknown style {style!r}; there are {', '.join(STYLES)}")

    def draw(domain: str, rng: np.random.Generator) -> tuple[str, str]:
        if style == "small":
            return small_question(domain, held_out=True, rng=rng)
        return large_question(domain, difficulty or Difficulty(), rng)

    dev_rng, test_rng = np.random.default_rng(seed).spawn(2)
    seen: set[str] = set()
    # test comes first, so that it is dev that gives way where both draw the same question.
    test_records = draw_records("test", test, STYLES[style], partial(draw, rng=test_rng), seen)
    dev_records = draw_records("dev", dev, STYLES[style], partial(draw, rng=dev_rng), seen)
    return {
        "dataset": f"graph_tasks_{style}",
        "generation": dict(_GENERATION[style]),
        "dev": dev_records,
        "test": test_records,
    }


def draw_records(
    split: str, count: int, domains: Sequence[str], draw: Callable[[str], tuple[str, str]], seen: set[str]
) -> list[dict[str, str]]:
    """So many records of a data file, the domains in turn, none whose content is in `seen`, which grows by them.

    `draw` gives a question of a domain and its answer. Raises ValueError where no further question is to be had.
    """
    records: list[dict[str, str]] = []
    rejected = 0
    while len(records) < count:
        domain = domains[len(records) % len(domains)]
        question, answer = draw(domain)
        if _content(question) in seen:
            rejected += 1
            if rejected == MAX_REJECTED:
                raise ValueError(f"cannot find {count} different {split} questions; ask for fewer or for larger graphs")
            continue
        rejected = 0
        seen.add(_content(question))
        records.append({"question": question, "answer": answer, "id": f"{split}-{len(records)}", "domain": domain})
    return records
