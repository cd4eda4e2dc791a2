"""What three tiny models write together, in float64 by the plain procedure, kept in a file:

    python tests/support/golden_fusion.py          # writes tests/members/fusion/golden.json again

Weights come from Python's own generator and tokenizers are spelt out, so that they are the same in every process and
with every version of the libraries.
"""

import json
import random

import torch
from fusing import fusion_model, plain_procedure
from repository import ROOT
from table_models import letters_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

GOLDEN = ROOT / "tests" / "members" / "fusion" / "golden.json"
MODES = ("vanilla", "tas", "tas2", "tas2+mas2")
ORDERS = {"two": (0, 1), "three": (2, 1, 0)}
PROMPTS = ("hello", "abcabc", "inthe")
RATE, NEW_TOKENS, KEPT = 0.5, 6, 5
CLEAR = 0.01  # nat between the first two tokens of every step, so that float32 writes the same
MERGES = (("th", "he", "in", "an"), ("he", "in", "re", "on", "ab"), ("an", "th", "he", "st"))


def golden_models():
    """The models, in float32: two with byte-level pieces and one with other marks for blanks."""
    fusion_models = []
    for seed, merges in enumerate(MERGES):
        tokenizer = letters_tokenizer(seed, merges, byte_level=seed != 2)
        sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            head_dim=8,
            max_position_embeddings=64,
            eos_token_id=tokenizer.eos_token_id,
            **sizes,
        )
        model = LlamaForCausalLM(config).eval()
        draw = random.Random(seed)
        for name, weights in sorted(model.named_parameters()):
            if weights.dim() > 1:
                scale = 0.8 if "lm_head" in name or "embed" in name else 0.5
                numbers = [scale * (2 * draw.random() - 1) for _ in range(weights.numel())]
                weights.data = torch.tensor(numbers).view_as(weights)
        fusion_models.append(fusion_model(f"model {seed}", model, tokenizer))
    return fusion_models


def plainly(fusion_models, order, mode, prompt):
    """Tokens, and each fused step's likeliest tokens with their logits."""
    published = plain_procedure()
    some = [fusion_models[index] for index in order]
    vocabularies = [one.tokenizer.get_vocab() for one in some]
    common = sorted(set.intersection(*map(set, vocabularies)))
    models = []
    for one, ids in zip(some, vocabularies, strict=True):
        rows = published.relative_rows(one.embeddings.double(), torch.tensor([ids[piece] for piece in common]))
        models.append(published.Model(one.stepper.model.double(), one.tokenizer, rows))
    settings = published.Settings([1 / len(some)] * len(some), RATE, mode=mode)
    seen: list[torch.Tensor] = []
    tokens = published.write(models, prompt, NEW_TOKENS, settings, seen)
    for one in some:
        one.stepper.model.float()
    return tokens, [own.topk(KEPT) for own in seen]


def golden_records():
    """All modes, orders and prompts; ValueError where a step is too close for float32."""
    records = []
    for name, order in ORDERS.items():
        for mode in MODES:
            for prompt in PROMPTS:
                tokens, steps = plainly(golden_models(), order, mode, prompt)
                if min(float(step.values[0] - step.values[1]) for step in steps) < CLEAR:
                    raise ValueError(f"{prompt!r} is too close in mode {mode} for {name}: take another prompt")
                records.append({
                    "models": name, "mode": mode, "prompt": prompt, "tokens": tokens,
                    "likeliest": [step.indices.tolist() for step in steps],
                    "logits": [[round(value, 6) for value in step.values.tolist()] for step in steps],
                })  # fmt: skip
    return records


if __name__ == "__main__":
    lines = ",\n".join(f"  {json.dumps(record)}" for record in golden_records())
    GOLDEN.write_text('{"made_by": "python tests/support/golden_fusion.py", "records": [\n' + lines + "\n]}\n")
