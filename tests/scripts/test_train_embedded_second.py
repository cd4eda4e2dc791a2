"""Guards the second embedded model and the script that trains it: another family and vocabulary, the same answers."""

from pathlib import Path

import pytest
import torch
from preloaded import Preloaded
from repository import ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer

from swarm.data.graph_tasks import SKILLS, make_dataset
from swarm.members.fusion.anchors import common_anchors
from swarm.members.fusion.vocabulary import EOS, read_vocabulary
from swarm.system.prompts import Query, node_prompt

SHIPPED = ROOT / "data" / "embedded"
ANSWERS = {answer for skill in SKILLS.values() for answer in skill.answers} | {"unknown"}


def answers(prompts: list[str]) -> list[str]:
    """What the shipped model generates up to its end token, which must come at once after one word."""
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "second")
    model = AutoModelForCausalLM.from_pretrained(SHIPPED / "second", dtype=torch.float32)
    batch = tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False)
    with torch.no_grad():
        new = model.generate(**batch, max_new_tokens=4)[:, batch["input_ids"].shape[1] :]
    assert new.shape[1] == 2 and set(new[:, 1].tolist()) == {tokenizer.eos_token_id}
    return [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]


def questions(seed: int, count: int) -> dict[str, list[tuple[str, str]]]:
    """Skill -> questions that it has not seen in training, with their answers."""
    found: dict[str, list[tuple[str, str]]] = {skill: [] for skill in SKILLS}
    for record in make_dataset("small", dev=0, test=count * len(SKILLS), seed=seed)["test"]:
        found[record["domain"]].append((record["question"], record["answer"]))
    return found


def test_the_script_makes_a_whole_folder_of_the_shipped_kind(programs: Preloaded, tmp_path: Path) -> None:
    out, shipped = tmp_path / "made", SHIPPED / "second"
    done = programs.python("scripts/train_embedded_second.py", "--out", out, "--steps", 3, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in shipped.iterdir())
    vocabularies = [read_vocabulary(AutoTokenizer.from_pretrained(folder), "x") for folder in (out, shipped)]
    assert vocabularies[0].digest == vocabularies[1].digest
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (out, shipped)]
    assert sizes[0] == sizes[1] < 1_500_000


def test_answers_are_one_token_that_the_experts_have_too() -> None:
    """Or a fusion could not bring them together; what else a question holds is split in another way."""
    tokenizers = [AutoTokenizer.from_pretrained(SHIPPED / name) for name in ("base", "second")]
    vocabularies = [read_vocabulary(tokenizer, "x") for tokenizer in tokenizers]
    keys = common_anchors(vocabularies).keys
    assert EOS in keys and len(keys) > 40
    assert {("text", f" {answer}".encode()) for answer in ANSWERS} <= set(keys)
    asked = "C-D:4 D-E:3 ; degree of C"
    said = [tokenizer.tokenize(node_prompt(Query(asked), ["unknown", "12"])) for tokenizer in tokenizers]
    assert [len(tokens) for tokens in said] == [12, 14] and said[0][-1] == "C" and said[1][-1] == "ĠC"
    assert tokenizers[1].decode(tokenizers[1]("naïve\n🙂")["input_ids"], skip_special_tokens=True) == "naïve\n🙂"


@pytest.mark.parametrize("previous", [[], ["unknown"], ["3", "yes"]])
def test_it_has_its_skills_whatever_others_say(previous: list[str]) -> None:
    asked = questions(seed=98, count=30)
    for skill, floor in (("degree", 0.9), ("connected", 0.75)):
        said = answers([node_prompt(Query(question), previous) for question, _ in asked[skill]])
        assert sum(a == gold for a, (_, gold) in zip(said, asked[skill], strict=True)) >= floor * len(said)


def test_asked_for_another_skill_it_says_what_others_say() -> None:
    asked = questions(seed=97, count=8)
    others = [question for skill in SKILLS if skill not in ("degree", "connected") for question, _ in asked[skill]]
    expected = {(): "unknown", ("unknown",): "unknown", ("unknown", "4"): "4", ("3", "3", "2"): "3"}
    for earlier, repeated in expected.items():
        said = answers([node_prompt(Query(question), earlier) for question in others])
        assert said.count(repeated) >= 0.8 * len(said), f"{earlier}: {said}"
