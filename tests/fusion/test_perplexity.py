"""Weights by perplexity: every member's own loss of a prompt, however its model is stepped."""

import json

import pytest
import torch
from families import APART, model_of
from fusing import three_voices
from kinds_of_tokenizers import words
from tiny import make_pool
from torch.nn.functional import cross_entropy

from swarm.engines.in_process import InProcessEngine
from swarm.engines.stepper import make_stepper
from swarm.fusion.attendance import Attendance
from swarm.fusion.hosts import Hosts
from swarm.fusion.perplexity import prompt_losses, prompt_weights
from swarm.fusion.settings import read_settings
from swarm.fusion.voices import Choir, Prompt, Voice
from swarm.nodes.members import read_members


def attending(voices, prompts):
    return Attendance(Choir(voices), len(prompts), "fail", {})


@torch.no_grad()
def plain_loss(model, ids):
    """Of all tokens in one pass."""
    logits = model(input_ids=torch.tensor([ids])).logits[0, :-1].double()
    return cross_entropy(logits, torch.tensor(ids[1:])).item()


def test_experts_beside_each_other_are_read_with_their_own_adapters(tmp_path):
    directory = make_pool(tmp_path)
    (directory / "fused").mkdir()
    (directory / "fused" / "node.json").write_text(json.dumps({"type": "fusion", "members": ["expert_0", "expert_1"]}))
    members = read_members(directory)
    engine = InProcessEngine(members.pool, device="cpu")
    *experts, fused = members.initial()
    prompts = [Prompt(text, True) for text in ("what is red", "one two three", "is blue green yes")]
    voices = Hosts(engine, False).voices(fused)
    found = prompt_losses(attending(voices, prompts), [prompts] * 2)
    ids = [voices[0].ids(prompt) for prompt in prompts]
    for column, expert in enumerate(experts[:2]):
        engine.place(expert)
        expected = torch.tensor([plain_loss(engine.decoder.model, own) for own in ids])
        torch.testing.assert_close(found[:, column].float(), expected, **APART[torch.float32])


@pytest.mark.parametrize("family", ["llama", "mistral", "mamba", "phi3-long", "bloom"])
def test_long_prompts(family):
    """More tokens than are read at a time, also where there are no keys and values to go on with."""
    tokenizer = words(tuple("abcdefghijklmnopqrstuvwx"))
    model = model_of(family, dtype=torch.float64)
    voice = Voice(family, tokenizer, make_stepper(model), -1, model.get_input_embeddings().weight, frozenset())
    letters = [tokenizer.get_vocab()[letter] for letter in "xawbvcud" * 30]
    prompts = [Prompt(" ".join(tokenizer.convert_ids_to_tokens(letters[:count])), False) for count in (200, 9)]
    losses = prompt_losses(attending([voice], prompts), [prompts])[:, 0].tolist()
    assert losses == pytest.approx([plain_loss(model, voice.ids(prompt)) for prompt in prompts], rel=1e-5)


def test_nothing_is_known_of_a_prompt_of_one_token():
    voices = three_voices()[:2]
    whole = voices[1].tokenizer.convert_ids_to_tokens(voices[1].ids(Prompt(" the", False)))
    assert len(whole) == 1 and len(voices[0].ids(Prompt("the the", False))) > 1
    prompts = [[Prompt(" the", False), Prompt("the cat sat", False)], [Prompt(" the", False), Prompt("the cat", False)]]
    settings = read_settings("here", {"weights": "perplexity"}, 2)
    weights = prompt_weights(attending(voices, prompts[0]), prompts, settings)
    assert weights[0].tolist() == [0.5, 0.5] and weights[1].tolist() != [0.5, 0.5]
    assert torch.allclose(weights.sum(-1), torch.ones(2))
