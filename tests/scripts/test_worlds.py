"""Worlds of every kind: what is drawn for them, their training on a small budget, and the copies in the repository."""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from preloaded import Preloaded
from repository import ROOT

from swarm.data.graph_tasks import is_held_out

COPIES = ROOT / "data" / "worlds"
KINDS = ("separable", "noisy", "composed")


@pytest.fixture(scope="module")
def scripts() -> Iterator[Any]:
    """The modules of the scripts, which import each other by their bare names."""
    sys.path.insert(0, str(ROOT / "scripts"))
    import world_card
    import world_codes
    import world_kinds
    import world_noise
    import world_optimum

    yield {module.__name__: module for module in (world_card, world_codes, world_kinds, world_noise, world_optimum)}
    sys.path.remove(str(ROOT / "scripts"))


def lessons(world: Any, count: int = 40) -> list[tuple[str, str]]:
    """What base and experts learn from first."""
    rng = np.random.default_rng(5)
    return [world.base_sample(rng) for _ in range(count)] + [
        world.expert_sample(k % world.experts, rng) for k in range(count)
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("experts", [4, 6])
def test_a_seed_decides_lessons_and_questions(scripts: Any, kind: str, experts: int) -> None:
    make = scripts["world_kinds"].make_world
    one, same, other = make(kind, 3, experts), make(kind, 3, experts), make(kind, 4, experts)
    sizes = {"dev": 24, "test": 36}
    assert lessons(one) == lessons(same) and one.dataset(1, **sizes) == same.dataset(1, **sizes)
    assert one.dataset(1, **sizes)["test"] == one.dataset(2, **sizes)["test"], "the same for all searches"
    assert one.dataset(1, **sizes)["dev"] != one.dataset(2, **sizes)["dev"], "a search's own"
    assert one.dataset(1, **sizes)["test"] != other.dataset(1, **sizes)["test"]
    asked = [record["question"] for split in ("dev", "test") for record in one.dataset(**sizes)[split]]
    assert len(asked) == len(set(asked)) == 60
    words = set(one.tokenizer.get_vocab())
    assert all({*question.split()} <= words for question in asked)


def test_the_separable_world_learns_what_the_embedded_experts_learnt(scripts: Any) -> None:
    """Draw for draw: else a world of seed 0 would not be data/embedded byte for byte."""
    world, rng = scripts["world_kinds"].make_world("separable", 0), np.random.default_rng(3)
    digest = hashlib.sha256()
    for k in range(2000):
        digest.update(repr(world.base_sample(rng)).encode())
        digest.update(repr(world.expert_sample(k % 6, rng)).encode())
    assert digest.hexdigest() == "a178276d96cc552aaa36fab2f5e58b427bdaec8339c76dbeed2b65bb91c12276"
    [shipped] = {json.loads((ROOT / "data/embedded/base/tokenizer.json").read_text())["model"]["vocab"].__len__()}
    assert len(world.tokenizer.get_vocab()) == shipped


def test_codes_are_gone_on_with_from_what_is_furthest(scripts: Any) -> None:
    gone_on = scripts["world_codes"].gone_on
    numbers = {"A": "7", "B": "3"}
    assert gone_on([], "C", numbers) == "C" and gone_on(["unknown"], None, numbers) == "unknown"
    assert gone_on(["A", "unknown", "B", "A"], "C", numbers) == "7" and gone_on(["A"], "C", None) == "A"
    assert gone_on(["A", "11", "A"], "C", numbers) == "11", "an answer is passed on"


def test_no_sequence_of_all_experts_serves_all_orders_and_a_longer_one_serves_more(scripts: Any) -> None:
    best = scripts["world_card"].best_sequence
    for seed in range(3):
        world = scripts["world_kinds"].make_world("composed", seed)
        assert len(world.orders) == len(set(world.orders)) == 12
        served = []
        for length in (6, 9):
            sequence = [world.skills[k] for k in best(world, length)]
            pairs = {(a, b) for i, a in enumerate(sequence) for b in sequence[i + 1 :]}
            served.append(len(pairs & {*world.orders}))
        assert sorted(best(world, 6)) == [*range(6)]
        assert served[0] < 12 and served[1] > served[0]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_what_is_asked_is_never_trained(scripts: Any, seed: int) -> None:
    world, rng = scripts["world_kinds"].make_world("noisy", seed), np.random.default_rng(seed)
    assert is_held_out(world.question("degree", rng)[0])
    assert not any(
        is_held_out(prompt.rpartition("on: ")[2]) for prompt, _ in lessons(world, 5) if "Question: " in prompt
    )


@pytest.mark.parametrize(
    ("kind", "turned"), [("odd", {}), ("x", {"steps": 3}), ("x", {"errors": 1}), ("x", {"betrayed": 2})]
)
def test_what_no_world_can_be_is_refused(scripts: Any, kind: str, turned: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="wanted|there are"):
        scripts["world_kinds"].make_world(kind, 0, 6, turned)


def test_all_systems_of_four(scripts: Any) -> None:
    optimum = scripts["world_optimum"]
    trees = optimum.trees(4)
    assert len(trees) == len(set(trees)) == 64 and len([*optimum.systems(4)]) == 64 * 256
    assert all(len(edges) == 3 and len({child for child, _ in edges}) == 3 for edges in trees)
    forms = [optimum.form(edges, assignment) for edges, assignment in optimum.systems(4)]
    assert len({*forms}) == 5 * 256, "the ordered trees of four nodes, each with every assignment"
    assert optimum.form(((0, 2), (1, 2), (3, 0)), (3, 1, 2, 0)) == (2, (3, (0,)), (1,))


def test_a_world_of_four_is_trained_whole(programs: Preloaded, tmp_path: Path) -> None:
    out = tmp_path / "world"
    small = ["--experts", 4, "--base_steps", 6, "--expert_steps", 2, "--test", 12]
    command = ["scripts/train_world.py", "--kind", "composed", "--seed", 1, "--out", out, *small]
    done = programs.python(*command, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md", "base", "experts", "questions.json", "world.json"
    ]  # fmt: skip
    assert len([*(out / "experts").iterdir()]) == 4
    card = (out / "README.md").read_text()
    assert "--kind composed --seed 1" in card and card.count("| portfolio |") == 1
    assert done.stdout.count("expert_3_gold: step 2/2") == 3, "trained again while it has not its code"
    again = programs.python(*command, cwd=ROOT)
    assert again.returncode == 2 and "is not empty" in again.stderr


def test_adapters_on_axes_of_their_own_say_the_same_and_have_no_average(scripts: Any) -> None:
    rng = np.random.default_rng(0)
    drawn = {"q.lora_A": rng.standard_normal((8, 20)), "q.lora_B": rng.standard_normal((30, 8))}
    state = {key: torch.from_numpy(value).float() for key, value in drawn.items()}
    one, other = (scripts["world_noise"].on_own_axes(state, rng) for _ in range(2))
    change = state["q.lora_B"] @ state["q.lora_A"]
    for own in (one, other):
        assert torch.allclose(own["q.lora_B"] @ own["q.lora_A"], change, atol=1e-3)
    mixed = {key: (one[key] + other[key]) / 2 for key in one}
    assert (mixed["q.lora_B"] @ mixed["q.lora_A"] - change).norm() > 2 * change.norm()


@given(st.floats(0.5, 5.5))
def test_a_scale_is_found_where_the_share_falls_below_what_is_wanted(scripts: Any, edge: float) -> None:
    found = scripts["world_noise"].scale_of(lambda scale: float(scale < edge), 0.6)
    assert abs(found - edge) <= 6 / 2**6


def test_a_kind_that_there_is_not_is_named(programs: Preloaded, tmp_path: Path) -> None:
    done = programs.python("scripts/train_world.py", "--kind", "odd", "--out", tmp_path / "w", cwd=ROOT)
    assert done.returncode == 2 and "no kind 'odd'" in done.stderr


@pytest.mark.parametrize("kind", ["noisy", "composed"])
def test_a_copy_is_what_its_card_says(scripts: Any, kind: str) -> None:
    """A few of its questions, answered again, beside the card's shares."""
    folder = COPIES / kind
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 3_000_000
    world = scripts["world_kinds"].read_world(folder)
    answers = scripts["world_card"].Answers(world, folder, dev=120, test=120)
    on_disk = json.loads((folder / "questions.json").read_text())
    assert [record["question"] for record in on_disk["test"][:120]] == [example.question for example in answers.test]
    rows = scripts["world_card"].baselines(answers) | scripts["world_card"].right_chains(answers)
    card = {}
    for line in (folder / "README.md").read_text().splitlines():
        name, *cells = [cell.strip() for cell in line.strip("| ").split("|")]
        if name in rows:
            card[name] = float(cells[0])
    assert {*card} == {*rows}
    for name, row in rows.items():
        assert abs(row.test.mean() - card[name]) < 0.15, name  # 120 questions of 1,200: three standard errors
    if kind == "noisy":
        assert card["vote"] > card["best single"] + 0.1 and card["router"] < card["vote"] - 0.08
    else:
        assert max(card[name] for name in ("best single", "vote", "router", "uniform average")) < 0.05
        assert card["the right chain of 9, some twice"] > 0.85 > card["the right chain of 6, each once"]
