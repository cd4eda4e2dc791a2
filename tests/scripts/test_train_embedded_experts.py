"""Guards the script that trains the embedded experts and what it made: folders that transformers and PEFT read."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from peft import PeftModel
from preloaded import Preloaded
from repository import ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer

from swarm.data.graph_tasks import make_dataset
from swarm.system.prompts import Query, node_prompt

SHIPPED = ROOT / "data" / "embedded"
EXPERTS = [
    "expert_0_edges",
    "expert_1_degree",
    "expert_2_weight",
    "expert_3_connected",
    "expert_4_heaviest",
    "expert_5_shortest",
]


@pytest.fixture(scope="session")
def train(programs: Preloaded) -> Callable[..., CompletedProcess[str]]:
    """Runs the script."""
    return partial(programs.python, "scripts/train_embedded_experts.py", cwd=ROOT)


@pytest.fixture(scope="module")
def trained(train: Callable[..., CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A world trained on a small budget, and what the script said meanwhile."""
    out = tmp_path_factory.mktemp("embedded") / "world"
    done = train("--out", out, "--base_steps", 12, "--expert_steps", 5)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def answers(folder: Path, expert: str | None, prompts: list[str]) -> list[str]:
    """What an expert (None: the base) generates, left-padded in one batch, with nothing but the two libraries."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
    if expert is not None:
        model = PeftModel.from_pretrained(model, folder / "experts" / expert)
    batch = tokenizer(prompts, return_tensors="pt", padding=True)
    with torch.no_grad():
        output = model.generate(**batch, max_new_tokens=4)
    texts = tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in texts]


def right(folder: Path, expert: str, domain: str) -> float:
    """The share of right answers of an expert alone to fresh questions of a domain."""
    records = [
        record for record in make_dataset("small", dev=0, test=180, seed=99)["test"] if record["domain"] == domain
    ]
    said = answers(folder, expert, [node_prompt(Query(record["question"]), []) for record in records])
    return sum(a == record["answer"] for a, record in zip(said, records, strict=True)) / len(records)


def test_losses_fall(trained: tuple[Path, str]) -> None:
    losses: dict[str, list[float]] = {}
    for name, loss in re.findall(r"^(\w+): step .* loss ([\d.]+),", trained[1], flags=re.MULTILINE):
        losses.setdefault(name, []).append(float(loss))
    assert list(losses) == ["base", *EXPERTS]
    assert losses["base"][-1] < 0.6 * losses["base"][0]
    assert sum(values[-1] < values[0] for values in losses.values()) == len(losses)


def test_the_folder_is_complete_and_holds_no_pickle(trained: tuple[Path, str]) -> None:
    out, _ = trained
    base = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    adapter = ["adapter_config.json", "adapter_model.safetensors"]
    wanted = ["README.md", *(f"base/{name}" for name in base)]
    wanted += [f"experts/{expert}/{name}" for expert in EXPERTS for name in adapter]
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == sorted(wanted)


def test_the_folder_loads_with_plain_libraries(trained: tuple[Path, str]) -> None:
    prompts = [node_prompt(Query("A-B:1 C-E:4 ; degree of A"), earlier) for earlier in ([], ["1", "unknown"])]
    for expert in (None, *EXPERTS):
        said = answers(trained[0], expert, prompts)
        assert len(said) == 2
        assert all(len(text.split()) <= 4 for text in said)


def test_a_folder_in_use_is_left_alone(train: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    done = train("--out", tmp_path)
    assert done.returncode == 2
    assert "is not empty; name a new folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("previous", [[], ["3"], ["unknown", "12", "yes", "3", "no", "unknown", "0", "20", "1"]])
def test_every_word_of_a_prompt_is_one_token(previous: list[str]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "base")
    for record in make_dataset("small", dev=0, test=30, seed=1)["test"]:
        question = record["question"]
        header, *responses, asked = node_prompt(Query(question), previous).split("\n")
        ids = tokenizer("\n".join([header, *responses, asked]))["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert len(ids) == 2 + 2 * len(previous) + 1 + len(question.split())
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.convert_ids_to_tokens(ids[-1:]) == [question.split()[-1]]


def test_unfamiliar_words_are_unknown_and_nothing_else_is_missing() -> None:
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "base")
    assert tokenizer.convert_ids_to_tokens(tokenizer("Question: hello")["input_ids"]) == ["<bos>", "Question:", "<unk>"]
    assert tokenizer.chat_template is None
    assert (tokenizer.pad_token, tokenizer.eos_token, tokenizer.padding_side) == ("<pad>", "<eos>", "left")


@pytest.mark.parametrize("expert", EXPERTS)
def test_a_shipped_expert_has_its_skill_and_not_the_next_two(expert: str) -> None:
    cycle = [name.split("_")[2] for name in EXPERTS]
    k = EXPERTS.index(expert)
    own, *wrong = (cycle[(k + step) % len(cycle)] for step in range(3))
    floor = {"shortest": 0.35, "connected": 0.6}.get(own, 0.9)
    assert right(SHIPPED, expert, own) >= floor
    assert all(right(SHIPPED, expert, skill) < 0.65 for skill in wrong)


def test_an_expert_without_a_view_repeats_what_it_hears() -> None:
    records = make_dataset("small", dev=0, test=60, seed=2)["test"]
    weights = [record["question"] for record in records if record["domain"] == "weight"]  # passed on by expert_3
    expected = {(): "unknown", ("unknown",): "unknown", ("unknown", "4"): "4", ("3", "3"): "3"}
    for earlier, repeated in expected.items():
        said = answers(SHIPPED, "expert_3_connected", [node_prompt(Query(question), earlier) for question in weights])
        assert said.count(repeated) >= 8, f"{earlier}: {said}"  # of 10


def test_the_base_keeps_its_skills_to_itself() -> None:
    records = make_dataset("small", dev=0, test=30, seed=3)["test"]
    assert set(answers(SHIPPED, None, [node_prompt(Query(r["question"]), []) for r in records])) == {"unknown"}
