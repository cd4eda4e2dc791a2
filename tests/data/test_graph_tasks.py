"""Guards the graph questions: true answers, no question on both sides, the same file from the same seed."""

import itertools
import json
import re
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preloaded import Preloaded
from repository import ROOT

from swarm.data.graph_tasks import (
    SKILLS,
    SMALL_NODES,
    STYLES,
    Difficulty,
    is_held_out,
    large_question,
    make_dataset,
    small_question,
)
from swarm.data.load import load_dataset

SHIPPED = ROOT / "data" / "eval" / "graph_tasks_small.json"

Weights = dict[frozenset[str], int]


def walk_lengths(weights: Weights, nodes: list[str], start: str, end: str) -> list[int]:
    """The lengths of all simple paths, found by trying every order of every set of nodes."""
    between = [node for node in nodes if node not in (start, end)]
    lengths = []
    for count in range(len(between) + 1):
        for middle in itertools.permutations(between, count):
            steps = [frozenset(pair) for pair in itertools.pairwise((start, *middle, end))]
            if all(step in weights for step in steps):
                lengths.append(sum(weights[step] for step in steps))
    return lengths


def read_small(question: str) -> tuple[Weights, list[str]]:
    graph, asked = question.split(" ; ")
    edges = [word.split(":") for word in graph.split()]
    weights = {frozenset(pair.split("-")): int(weight) for pair, weight in edges}
    assert len(weights) == len(edges), "an edge stands twice"
    return weights, asked.split()


def solve_small(question: str) -> str:
    weights, asked = read_small(question)
    target = asked[-1].split("-")
    if asked[0] == "weight":
        return str(weights[frozenset(target)])
    if asked[0] == "degree":
        return str(sum(target[0] in edge for edge in weights))
    if asked[0] == "number":
        return str(len(weights))
    if asked[0] == "heaviest":
        return str(max(weights.values()))
    lengths = walk_lengths(weights, list(SMALL_NODES), *target)
    if asked[0] == "connected":
        return "yes" if lengths else "no"
    return str(min(lengths))


def read_large(question: str) -> tuple[Weights, list[str]]:
    """The graph, whose every edge must be told from both ends alike, and the two nodes asked about."""
    weights: Weights = {}
    told = []
    for node, others in re.findall(r"^Node (\d+) is connected to (.*)\.$", question, flags=re.MULTILINE):
        for other in others.split(", "):
            name, weight = re.fullmatch(r"(?:node )?(\d+)(?: with weight (\d+))?", other).groups()
            assert weights.setdefault(frozenset((node, name)), int(weight or 1)) == int(weight or 1)
            told.append((node, name))
    assert {(b, a) for a, b in told} == set(told)
    asked = re.search(r"between node (\d+) and node (\d+)\?", question)
    assert asked is not None
    return weights, list(asked.groups())


def solve_large(question: str, domain: str) -> str:
    weights, (start, end) = read_large(question)
    nodes = sorted(set().union(*weights))
    assert frozenset((start, end)) not in weights, "a direct edge gives the answer away"
    lengths = walk_lengths(weights, nodes, start, end)
    if domain == "connectivity":
        return "Yes" if lengths else "No"
    return str(min(lengths))


def test_the_brute_force_of_this_file_agrees_with_answers_found_by_hand() -> None:
    graph = "C-D:4 D-E:3 A-C:1 A-D:2 ; "
    by_hand = {
        "weight of C-D": "4",
        "degree of D": "3",
        "degree of B": "0",
        "number of edges": "4",
        "heaviest edge": "4",
        "connected B-E": "no",
        "connected A-E": "yes",
        "shortest path C-D": "3",
        "shortest path C-E": "6",
    }
    assert {asked: solve_small(graph + asked) for asked in by_hand} == by_hand


def test_questions_read_as_documented() -> None:
    rng = np.random.default_rng(5)
    graph = r"([A-E]-[A-E]:[1-5] ){2,7}; "
    forms = {
        "weight": "weight of [A-E]-[A-E]",
        "degree": "degree of [A-E]",
        "edges": "number of edges",
        "heaviest": "heaviest edge",
        "connected": "connected [A-E]-[A-E]",
        "shortest": "shortest path [A-E]-[A-E]",
    }
    assert set(forms) == set(SKILLS)
    for skill, form in forms.items():
        for _ in range(20):
            assert re.fullmatch(graph + form, small_question(skill, True, rng)[0])


@given(st.integers(0, 2**32), st.sampled_from(sorted(SKILLS)), st.booleans())
@settings(deadline=None)
def test_small_answers_are_true_and_in_range(seed: int, skill: str, held_out: bool) -> None:
    question, answer = small_question(skill, held_out, np.random.default_rng(seed))
    weights, _ = read_small(question)
    fewest, most = SKILLS[skill].edges
    assert fewest <= len(weights) <= most
    assert answer == solve_small(question)
    assert answer in SKILLS[skill].answers
    assert is_held_out(question) == held_out


@given(st.integers(0, 2**32), st.sampled_from(STYLES["large"]), st.integers(5, 7), st.floats(0.25, 0.4))
@settings(deadline=None)
def test_large_answers_are_true(seed: int, domain: str, nodes: int, density: float) -> None:
    question, answer = large_question(domain, Difficulty((nodes, nodes), density), np.random.default_rng(seed))
    assert answer == solve_large(question, domain)


@given(st.integers(0, 2**32), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_the_edges_does_not_change_the_side_of_a_question(seed: int, random: Random) -> None:
    question, _ = small_question("weight", True, np.random.default_rng(seed))
    graph, asked = question.split(" ; ")
    edges = graph.split()
    random.shuffle(edges)
    assert is_held_out(f"{' '.join(edges)} ; {asked}")


def contents(records: list[dict[str, str]]) -> set[tuple[str, ...]]:
    return {tuple(sorted(record["question"].split())) for record in records}


@given(st.integers(0, 2**32), st.sampled_from(sorted(STYLES)))
@settings(max_examples=15, deadline=None)
def test_a_dataset_has_no_question_twice_and_every_domain_equally_often(seed: int, style: str) -> None:
    data = make_dataset(style, dev=30, test=60, seed=seed)
    everything = data["dev"] + data["test"]
    assert [len(data["dev"]), len(data["test"])] == [30, 60]
    assert len(contents(everything)) == len({record["id"] for record in everything}) == 90
    for split in ("dev", "test"):
        counts = {domain: sum(record["domain"] == domain for record in data[split]) for domain in STYLES[style]}
        assert set(counts.values()) == {len(data[split]) // len(STYLES[style])}
    assert style == "large" or all(is_held_out(record["question"]) for record in everything)


def node_counts(records: list[dict[str, str]]) -> set[int]:
    return {len(set().union(*read_large(record["question"])[0])) for record in records}


@pytest.mark.parametrize("style", sorted(STYLES))
def test_the_seed_decides_the_dataset_and_test_does_not_depend_on_dev(style: str) -> None:
    data = make_dataset(style, dev=20, test=20, seed=3)
    assert data == make_dataset(style, dev=20, test=20, seed=3)
    assert data["test"] == make_dataset(style, dev=500, test=20, seed=3)["test"]
    assert not contents(data["test"]) & contents(make_dataset(style, dev=0, test=20, seed=4)["test"])


def test_large_graphs_grow_with_the_difficulty_and_both_answers_are_as_frequent() -> None:
    data = make_dataset("large", dev=0, test=400, seed=1)["test"]
    yes = sum(record["answer"] == "Yes" for record in data)
    assert 75 <= yes <= 125  # 200 throws of a coin: 100 ± 3.5 standard deviations
    assert max(node_counts(data)) == 20
    big = make_dataset("large", dev=0, test=10, seed=1, difficulty=Difficulty((40, 40), 0.3))["test"]
    assert node_counts(big) == {40}


def test_demands_that_cannot_be_met_say_so() -> None:
    with pytest.raises(ValueError, match="unknown style 'huge'; there are small, large"):
        make_dataset("huge", dev=1, test=1, seed=0)
    with pytest.raises(ValueError, match="no connectivity question found"):
        make_dataset("large", dev=1, test=1, seed=0, difficulty=Difficulty((5, 5), 1.0))
    with pytest.raises(ValueError, match="cannot find 1000 different dev questions"):
        make_dataset("large", dev=1000, test=10, seed=0, difficulty=Difficulty((5, 5), 0.25))
    with pytest.raises(ValueError, match="from 5 on, but got 3 and 9"):
        Difficulty((3, 9))
    with pytest.raises(ValueError, match="above 0 and at most 1, but got 0"):
        Difficulty(density=0)


def test_the_script_makes_the_shipped_file_again(programs: Preloaded, tmp_path: Path) -> None:
    out = tmp_path / "graph_tasks_small.json"
    done = programs.python("scripts/make_graph_data.py", "--out", out, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == SHIPPED.read_bytes()
    assert "--style small --dev 120 --test 600 --seed 0" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_datasets_are_read_back_as_they_were_made(tmp_path: Path) -> None:
    for style in STYLES:
        made = make_dataset(style, dev=4, test=6, seed=0)
        path = tmp_path / f"{style}.json"
        path.write_text(json.dumps(made))
        read = load_dataset(str(path))
        assert read.generation == made["generation"]
        for split, records in (("dev", read.dev), ("test", read.test)):
            assert [{name: getattr(record, name) for name in made[split][0]} for record in records] == made[split]
