"""A pair model and a seq2seq model with random weights, and what LLM-Blender does with two such: rank, then fuse.

They are to the experts in size about what PairRM (0.4 B) and gen_fuser (3 B) are to models of 7 to 13 B. What they
compute costs what trained ones of their shape would cost; what they choose and write is worth nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

from swarm.members.blending.fuser import load_fuser
from swarm.members.blending.fuser_settings import PUBLISHED
from swarm.members.blending.pair_models import load_pair_model
from swarm.members.blending.pairwise import pairwise_scores

RANKER, FUSER = "ranker", "fuser"
TOP = 3  # answers that are fused
_PARTS = ("encoder.", "decoder.", "shared.")  # of a T5


def make_models(folder: Path, base: Path) -> None:
    """Writes both models into folders of their own, with the tokenizer of the experts' base."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    words, window = len(tokenizer), 256
    kept = torch.random.get_rng_state()
    torch.manual_seed(0)  # transformers draws from nothing else
    ranker = BertForSequenceClassification(
        BertConfig(
            vocab_size=words, max_position_embeddings=window, num_labels=1, hidden_size=16, num_hidden_layers=2,
            num_attention_heads=2, intermediate_size=64, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip
    fuser = T5ForConditionalGeneration(
        T5Config(
            vocab_size=words, d_model=32, d_kv=16, d_ff=128, num_layers=2, num_heads=2, dropout_rate=0.0,
            pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
            decoder_start_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip
    torch.random.set_rng_state(kept)
    for name, model in ((RANKER, ranker), (FUSER, fuser)):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


class Ranker:
    """All pairs of all members' answers compared, in both orders.

    Attributes:
      read: tokens so far.
      parameters: how many it has.
    """

    def __init__(self, folder: Path):
        self._model = load_pair_model(str(folder / RANKER), batch=32)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder / RANKER)
        self.parameters = sum(tensor.numel() for tensor in load_file(folder / RANKER / "model.safetensors").values())
        self.read = 0

    def order(self, prompts: Sequence[str], answers: Sequence[Sequence[str]]) -> np.ndarray:
        """(P, M) members of every prompt, the best first."""
        for prompt, row in zip(prompts, answers, strict=True):
            # every member meets every other in both orders; a separator ends each of the three texts
            pairs, own = len(row) * (len(row) - 1), sum(map(self._tokens, row))
            self.read += pairs * (self._tokens(prompt) + 3) + 2 * (len(row) - 1) * own
        return np.argsort(-pairwise_scores(self._model, prompts, answers), axis=1, kind="stable")

    def _tokens(self, text: str) -> int:
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])


class Fuser:
    """One answer written from a prompt and the best answers to it, by a beam search as published.

    Attributes:
      parameters: of encoder and decoder; the embeddings, which they share, count in each.
    """

    def __init__(self, folder: Path, new_tokens: int):
        self._fuser = load_fuser(str(folder / FUSER), batch=32)
        self._new_tokens = new_tokens
        kept = load_file(folder / FUSER / "model.safetensors")
        sizes = {part: sum(t.numel() for name, t in kept.items() if name.startswith(part)) for part in _PARTS}
        self.parameters = sizes["encoder."] + sizes["shared."], sizes["decoder."] + sizes["shared."]

    @property
    def read(self) -> int:
        """Tokens so far."""
        return self._fuser.prompt_tokens

    @property
    def written(self) -> int:
        """Tokens so far, of all beams."""
        return self._fuser.new_tokens * PUBLISHED.beams

    def fuse(self, prompts: Sequence[str], best: Sequence[Sequence[str]]) -> list[str]:
        """A text per prompt."""
        return self._fuser.fuse(prompts, best, self._new_tokens)
