"""Two models with tokenizers of their own on one text: what the stepper, the text and the follower are together."""

import pytest
import torch
from families import APART
from tokenizers_of import tokenizer_of
from transformers import AutoConfig, AutoModelForCausalLM

from swarm.engines.local.stepper import make_stepper
from swarm.members.fusion.follower import Follower
from swarm.members.fusion.growing_text import GrowingText, LegacyText

PROMPTS = ["Question: what is the capital of France?\nAnswer:", "x", "東京 is a city. 😀 12 + 30 ="]
FAMILIES = {"metaspace": "llama", "byte-level": "gpt2", "byte-level-groups": "qwen2", "metaspace-bare": "gemma2"}


def model_for(name):
    """A random model for a tokenizer; one that writes all kinds of tokens."""
    torch.manual_seed(len(name))
    size = {"vocab_size": len(tokenizer_of(name)), "initializer_range": 0.2}
    wide = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 2, "head_dim": 16}  # fmt: skip
    narrow = {"n_embd": 32, "n_layer": 2, "n_head": 2}
    family = FAMILIES[name]
    config = AutoConfig.for_model(family, **size, **(narrow if family == "gpt2" else wide))
    return AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval()


@torch.no_grad()
def from_scratch(model, ids):
    return model(torch.tensor([ids]), use_cache=False).logits[0, -1]


@pytest.mark.parametrize("bridge", [GrowingText, LegacyText])
@pytest.mark.parametrize(
    ("main", "other"),
    [("metaspace", "byte-level"), ("byte-level", "metaspace"), ("byte-level-groups", "metaspace-bare")],
)
def test_the_other_model_reads_the_text_so_far_and_only_what_is_new_of_it(main, other, bridge):
    """Specification 7.1, KV cache: logits with crop and extend are those from scratch, at every step of a batch."""
    writer, reader = tokenizer_of(main), tokenizer_of(other)
    ids = [list(writer(prompt)["input_ids"]) for prompt in PROMPTS]
    texts = [bridge(writer, row) for row in ids]
    followers = [Follower(reader, prompt, True) for prompt in PROMPTS]
    mine, theirs = make_stepper(model_for(main)), make_stepper(model_for(other))
    mine.open(ids, room=30)
    theirs.open([follower.ids for follower in followers], room=30)
    generator = torch.Generator().manual_seed(3)
    for _ in range(30):
        found = theirs.logits(range(3))
        for row, prompt in enumerate(PROMPTS):
            assert theirs.tokens(row) == list(reader(prompt + texts[row].text)["input_ids"])
        expected = torch.stack([from_scratch(theirs.model, theirs.tokens(row)) for row in range(3)])
        torch.testing.assert_close(found, expected.float(), **APART[torch.float64])
        tokens = torch.multinomial(mine.logits(range(3)).softmax(-1), 1, generator=generator)[:, 0].tolist()
        for row, token in enumerate(tokens):
            mine.append(row, token)
            theirs.replace(row, followers[row].extend(texts[row].append(token)))
    written = sum(len(theirs.tokens(row)) for row in range(3))
    assert mine.read == sum(map(len, ids)) + 3 * 29
    assert theirs.read < 2 * written, "some tokens at the end change, and some are waited for"
