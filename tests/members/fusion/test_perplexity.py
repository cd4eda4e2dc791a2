"""Weights by perplexity: every member's own loss of a prompt, however its model is stepped."""

import json

import pytest
import torch
from families import APART, model_of
from fusing import three_models
from kinds_of_tokenizers import words
from tiny import make_pool
from torch.nn.functional import cross_entropy

from swarm.engines.local.stepper import make_stepper
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.members.fusion.failure_policy import FailurePolicy
from swarm.members.fusion.fusion_models import Ensemble, FusionModel, Prompt
from swarm.members.fusion.fusion_settings import read_settings
from swarm.members.fusion.model_placement import ModelPlacement
from swarm.members.fusion.perplexity import prompt_losses, prompt_weights
from swarm.members.members import read_members


def attending(fusion_models, prompts):
    return FailurePolicy(Ensemble(fusion_models), len(prompts), "fail", {})


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
    fusion_models = ModelPlacement(engine, False).fusion_models(fused)
    found = prompt_losses(attending(fusion_models, prompts), [prompts] * 2)
    ids = [fusion_models[0].ids(prompt) for prompt in prompts]
    for column, expert in enumerate(experts[:2]):
        engine.load(expert)
        expected = torch.tensor([plain_loss(engine.decoder.model, own) for own in ids])
        torch.testing.assert_close(found[:, column].float(), expected, **APART[torch.float32])


@pytest.mark.parametrize("family", ["llama", "mistral", "mamba", "phi3-long", "bloom"])
def test_long_prompts(family):
    """More tokens than are read at a time, also where there are no keys and values to go on with."""
    tokenizer = words(tuple("abcdefghijklmnopqrstuvwx"))
    model = model_of(family, dtype=torch.float64)
    fusion_model = FusionModel(
        family, tokenizer, make_stepper(model), -1, model.get_input_embeddings().weight, frozenset()
    )
    letters = [tokenizer.get_vocab()[letter] for letter in "xawbvcud" * 30]
    prompts = [Prompt(" ".join(tokenizer.convert_ids_to_tokens(letters[:count])), False) for count in (200, 9)]
    losses = prompt_losses(attending([fusion_model], prompts), [prompts])[:, 0].tolist()
    assert losses == pytest.approx([plain_loss(model, fusion_model.ids(prompt)) for prompt in prompts], rel=1e-5)


def test_nothing_is_known_of_a_prompt_of_one_token():
    fusion_models = three_models()[:2]
    whole = fusion_models[1].tokenizer.convert_ids_to_tokens(fusion_models[1].ids(Prompt(" the", False)))
    assert len(whole) == 1 and len(fusion_models[0].ids(Prompt("the the", False))) > 1
    prompts = [[Prompt(" the", False), Prompt("the cat sat", False)], [Prompt(" the", False), Prompt("the cat", False)]]
    settings = read_settings("here", {"weights": "perplexity"}, 2)
    weights = prompt_weights(attending(fusion_models, prompts[0]), prompts, settings)
    assert weights[0].tolist() == [0.5, 0.5] and weights[1].tolist() != [0.5, 0.5]
    assert torch.allclose(weights.sum(-1), torch.ones(2))
