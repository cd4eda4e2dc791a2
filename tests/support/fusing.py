"""Tiny random models with different tokenizers, and fusions of them."""

import importlib.util
import sys

import torch
from kinds_of_tokenizers import LINES, byte_level_bpe, sentence_piece_bpe
from repository import ROOT
from transformers import LlamaConfig, LlamaForCausalLM

from swarm.engines.local.stepper import make_stepper
from swarm.maths.member_weights import uniform
from swarm.members.fusion.build import make_chooser
from swarm.members.fusion.fused_decoding import FusedDecoding
from swarm.members.fusion.fusion_models import FusionModel, Prompt
from swarm.members.fusion.fusion_settings import read_settings

PROMPTS = [
    "the cat sat on",
    "two  cats and three dogs",
    "one, two, three:",
    "def answer(x):",
    "ran over the café",
    "isn't",
]


def plain_procedure():
    """benchmarks/published_fusion.py; the repository's root is not on the tests' import path."""
    path = ROOT / "benchmarks" / "published_fusion.py"
    spec = importlib.util.spec_from_file_location("published_fusion", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tiny_llama(tokenizer, seed, width=64):
    """A random model of two layers for a tokenizer; its logits are not flat."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config).eval()
    pieces = [tokenizer.convert_ids_to_tokens(token) or "" for token in range(len(tokenizer))]
    # parts of characters are never the likeliest, so that texts are texts
    parts = [i for i, piece in enumerate(pieces) if piece.startswith("<0x") or "\ufffd" in tokenizer.decode([i])]
    model.lm_head.weight.data[parts] = 0
    return model


def fusion_model(name, model, tokenizer, stepper=None):
    """A model as a model of a fusion."""
    embeddings = model.get_input_embeddings().weight.detach()
    return FusionModel(
        name, tokenizer, stepper or make_stepper(model), -1, embeddings, frozenset({tokenizer.eos_token_id})
    )


def three_models():
    """SentencePiece-like and byte-level BPE, and another SentencePiece-like one of other pieces."""
    tokenizers = [sentence_piece_bpe(), byte_level_bpe(), sentence_piece_bpe(LINES[1:3] * 4, 420)]
    models = [
        tiny_llama(tokenizer, seed, width)
        for seed, (tokenizer, width) in enumerate(zip(tokenizers, (64, 96, 64), strict=True))
    ]
    return [
        fusion_model(f"model {i}", model, tokenizer)
        for i, (model, tokenizer) in enumerate(zip(models, tokenizers, strict=True))
    ]


def written(fusion_models, prompts=PROMPTS, most=10, weights=None, decoding=None, **record):
    """The main model's ids and text for each prompt, in one batch."""
    settings = read_settings("here", record, len(fusion_models))
    decoding = decoding or FusedDecoding(fusion_models, make_chooser(fusion_models, settings), settings)
    shares = (uniform(len(fusion_models)) if weights is None else torch.tensor(weights)).expand(len(prompts), -1)
    answers = decoding.decode([[Prompt(prompt, True) for prompt in prompts] for _ in fusion_models], most, shares)
    found = {answer.row: answer for answer in answers}
    assert sorted(found) == list(range(len(prompts)))
    return [(list(found[row].ids), found[row].text) for row in range(len(prompts))]


def alone(one, prompts=PROMPTS, most=10):
    """What a model writes by itself."""
    return [ids for ids, _ in written([one, one], prompts, most, learning_rate=0.0)]
