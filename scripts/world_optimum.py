"""The true optimum of a world of four experts: all 64 labelled trees × 256 assignments, each run once.

python scripts/train_world.py --kind composed --experts 4 --seed 10 --out worlds/composed4-10
python scripts/world_optimum.py worlds/composed4-10 --seeds 0 1 2

A tree is one of the 16 labelled trees of four nodes with one of its nodes as its end, to which all edges point. Writes
optimum.json into the world's folder: dev (of each search seed) and test utility of all systems, in the order of
`systems`. Answers are kept while it runs, and systems that differ only in the numbers of their nodes are asked once.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import islice, product
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from world_base import DEV, TEST
from world_card import Answers
from world_kinds import read_world

FILE = "optimum.json"
AT_ONCE = 256
Edges = tuple[tuple[int, int], ...]


def trees(nodes: int) -> list[Edges]:
    """All labelled trees with every choice of the end: n^(n-1) of them (Cayley), edges towards the end, ascending."""
    found = []
    for code in product(range(nodes), repeat=nodes - 2):
        tree = nx.from_prufer_sequence(list(code))
        for end in range(nodes):
            found.append(tuple(sorted((child, parent) for parent, child in nx.bfs_edges(tree, end))))
    return found


def systems(nodes: int) -> Iterator[tuple[Edges, tuple[int, ...]]]:
    """Every tree with every assignment of as many experts, that of the last node fastest."""
    return ((edges, assignment) for edges in trees(nodes) for assignment in product(range(nodes), repeat=nodes))


def form(edges: Edges, assignment: Sequence[int], node: int | None = None) -> tuple[Any, ...]:
    """What decides a system's answers: its end's expert, and the same of those who tell it, in their order."""
    if node is None:
        [node] = {*range(len(assignment))} - {child for child, _ in edges}
    return assignment[node], *(form(edges, assignment, child) for child, parent in edges if parent == node)


def utilities(answers: Answers) -> tuple[list[float], list[float]]:
    """Dev and test utility of all systems, of which those of one form, 1,280 of four nodes, are asked once."""
    forms = [form(edges, assignment) for edges, assignment in systems(answers.world.experts)]
    first = dict(zip(reversed(forms), reversed([*systems(answers.world.experts)]), strict=True))
    found: dict[Any, tuple[float, ...]] = {}
    for begin in range(0, len(first), AT_ONCE):
        some = [*first][begin : begin + AT_ONCE]
        asked = [answers.system(first[one][1], first[one][0]) for one in some]
        judged = [answers.fitness.judge(asked, part) for part in (answers.dev, answers.test)]
        scores = [[float(judgement["strict"].mean()) for judgement in part] for part in judged]
        found |= dict(zip(some, zip(*scores, strict=True), strict=True))
    return [found[one][0] for one in forms], [found[one][1] for one in forms]


def optimum(folder: Path, seeds: list[int], dev: int, test: int) -> dict[str, Any]:
    """The content of optimum.json."""
    record: dict[str, Any] = {"dev_questions": dev, "test_questions": test, "dev": {}}
    for seed in seeds:
        answers = Answers(read_world(folder), folder, seed, dev, test if seed == seeds[0] else 1)
        of_dev, of_test = utilities(answers)
        record["dev"][str(seed)] = [round(score, 6) for score in of_dev]
        if seed == seeds[0]:
            best = int(np.argmax(of_test))
            edges, assignment = next(islice(systems(answers.world.experts), best, None))
            record["test"] = [round(score, 6) for score in of_test]
            record["best"] = {
                "test": max(of_test),
                "edges": edges,
                "assignment": assignment,
                "mean": float(np.mean(of_test)),
            }
    return record


def main() -> None:
    """Runs all systems of the worlds that are named."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("worlds", nargs="+", type=Path, help="folders of worlds of four experts")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of searches (default: 0 1 2)")
    parser.add_argument("--dev", type=int, default=DEV, help="dev questions (default: %(default)s)")
    parser.add_argument("--test", type=int, default=TEST, help="test questions (default: %(default)s)")
    options = parser.parse_args()
    for folder in options.worlds:
        if (experts := read_world(folder).experts) != 4:
            parser.error(f"{folder} has {experts} experts; wanted 4, since of 6 there are 363 million systems")
        record = optimum(folder, options.seeds, options.dev, options.test)
        (folder / FILE).write_text(json.dumps(record) + "\n", encoding="utf8")
        print(f"{folder}: best on test {record['best']['test']:.3f}, mean of all {record['best']['mean']:.3f}")


if __name__ == "__main__":
    main()
