"""Fusing: what the encoder-decoder is given to read, and what becomes of it, beside transformers used plainly."""

import logging

import pytest
import torch
from scorers import make_bart, make_bert, make_fuser
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from swarm.errors import UserError
from swarm.members.blending.fuser import load_fuser
from swarm.members.blending.fuser_settings import FuserSettings, check_fuser

PROMPTS = ["what is red ?", "the dog", "is the cat on the mat ?"]
ANSWERS = [["a red door", "the cat"], ["no", "yes", "two dog"], ["the cat ran under the green door"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_fuser(tmp_path_factory.mktemp("models") / "fuser")


def plain(folder, source, beams=4, tokens=6):
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    ids = tokenizer(source, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        [found] = model.generate(ids, num_beams=beams, do_sample=False, max_new_tokens=tokens)
    return tokenizer.decode(found, skip_special_tokens=True)


def test_the_published_format_word_for_word(folder):
    assert load_fuser(str(folder)).source("what is red ?", ["a red door", "the cat"]) == (
        "Instruction: </s>Input: what is red ?</s>Candidate 0: <extra_id_0>:a red door</s>Candidate 1: "
        "<extra_id_1>:the cat</s>Summarize candidates into a better one for the given instruction:"
    )


@pytest.mark.parametrize("beams", [1, 4])
def test_a_batch_is_what_each_prompt_gives_alone(folder, beams):
    fuser = load_fuser(str(folder), batch=2)
    texts = fuser.fuse(PROMPTS, ANSWERS, 6, FuserSettings(beams=beams))
    sources = [fuser.source(prompt, answers) for prompt, answers in zip(PROMPTS, ANSWERS, strict=True)]
    assert texts == [plain(folder, source, beams) for source in sources]
    assert len(set(texts)) == 3 and all(texts)
    assert fuser.fused == 3 and 3 <= fuser.new_tokens <= 18
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert fuser.prompt_tokens == sum(len(tokenizer(s, add_special_tokens=False)["input_ids"]) for s in sources)


def test_beams_and_the_order_of_answers_count(folder):
    fuser = load_fuser(str(folder))
    turned = [[*reversed(answers)] for answers in ANSWERS[:2]]
    assert fuser.fuse(PROMPTS[:2], ANSWERS[:2]) != fuser.fuse(PROMPTS[:2], turned)


def test_what_is_too_long_is_cut_and_said_once(folder, caplog):
    fuser, settings = load_fuser(str(folder)), FuserSettings(input_tokens=30, candidate_tokens=2)
    assert "<extra_id_0>:the cat...</s>" in fuser.source("one", ["the cat sat"], settings)
    assert "<extra_id_0>:the cat</s>" in fuser.source("one", ["the cat"], settings)
    with caplog.at_level(logging.WARNING):
        [text] = fuser.fuse(["the cat " * 20], [["no dog sat"]], 6, settings)
        fuser.fuse(["the cat " * 30], [["no dog sat"]], 6, settings)
    assert [record.getMessage() for record in caplog.records] == [
        f"answer fusion: 1 prompts with their answers are longer than 30 tokens; {folder} reads their beginning only",
        f"answer fusion: 1 answers are longer than 2 tokens; {folder} reads their beginning only",
    ]
    # four words and an end stand before the prompt: 25 of its words are left
    assert text == plain(folder, "Instruction: </s>Input: " + "the cat " * 12 + "the")


def test_learned_positions_end(tmp_path, caplog):
    fuser = load_fuser(str(make_bart(tmp_path / "bart", window=24)))
    with caplog.at_level(logging.WARNING):
        [text] = fuser.fuse(["the cat " * 40], [["no"]], 100)
    assert "longer than 24 tokens" in caplog.text and len(text.split()) <= 23


def test_too_little_memory_halves_the_batch(folder, caplog, monkeypatch):
    fuser = load_fuser(str(folder), batch=3)
    wanted = fuser.fuse(PROMPTS, ANSWERS, 6)
    model, seen = fuser._loaded.model, []

    def most_one(**given):
        seen.append(len(given["input_ids"]))
        if seen[-1] > 1:
            raise torch.OutOfMemoryError("no room")
        return type(model).generate(model, **given)

    monkeypatch.setattr(model, "generate", most_one)
    with caplog.at_level(logging.WARNING):
        assert fuser.fuse(PROMPTS, ANSWERS, 6) == wanted
    assert seen[0] == 3 and seen.count(1) == 3 and "now writes for 1 prompts at a time" in caplog.text
    monkeypatch.setattr(model, "generate", lambda **_: (_ for _ in ()).throw(torch.OutOfMemoryError("none")))
    with pytest.raises(UserError, match="one prompt with its answers does not fit into the memory of cpu") as caught:
        fuser.fuse(PROMPTS[:1], ANSWERS[:1])
    assert "\n" not in str(caught.value)


def test_what_cannot_be_had_or_is_no_encoder_decoder(tmp_path):
    for load in (check_fuser, load_fuser):
        with pytest.raises(UserError, match="^answer fusion: .*nobody/nothing.* from the hub"):
            load("nobody/nothing")
        with pytest.raises(UserError, match="is no encoder-decoder but bert; name a sequence-to-sequence model such"):
            load(str(make_bert(tmp_path / "bert")))
    broken = make_fuser(tmp_path / "broken")
    (broken / "model.safetensors").unlink()
    with pytest.raises(UserError, match="has no safetensors weights; save it once with save_pretrained"):
        load_fuser(str(broken))
