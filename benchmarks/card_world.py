"""A base model of Gemma-7B's shape with random weights, and random adapters for it, made where they are needed."""

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoModelForCausalLM, GemmaConfig, PreTrainedTokenizerFast

from benchmarks import materialise
from swarm.data.example import Dataset, Example
from swarm.errors import UserError
from swarm.storage.files import write_whole

DONE = "made.json"


@dataclass(frozen=True)
class Shape:
    """Sizes of the model (Gemma's names), of the adapters and of the work.

    `lengths` are the shortest and the longest prompt in tokens.
    """

    model: dict[str, int]
    experts: materialise.Size
    dtype: str
    prompts: int
    lengths: tuple[int, int]
    new_tokens: int
    graphs: int
    batches: tuple[int, ...] = field(default=(64,))


SHAPES = {
    "gemma-7b": Shape(
        model={"hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28, "num_attention_heads": 16,
               "num_key_value_heads": 16, "head_dim": 256, "vocab_size": 256_000},
        experts=materialise.Size(), dtype="bfloat16", prompts=64, lengths=(400, 700), new_tokens=80, graphs=10,
        batches=(64, 128),
    ),
    "tiny": Shape(
        model={"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
               "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 500},
        experts=materialise.SMALL, dtype="float32", prompts=4, lengths=(20, 30), new_tokens=4, graphs=2, batches=(4,),
    ),
}  # fmt: skip


def make_world(folder: Path, shape: Shape, device: str) -> None:
    """Writes base/ and experts/ into a folder, unless it holds them already; what it holds half or otherwise goes.

    Raises UserError where the folder holds such things that were not made here.
    """
    wanted = description(shape)
    marker, parts = folder / DONE, (folder / "base", folder / "experts")
    text = marker.read_text(encoding="utf8") if marker.is_file() else ""
    if text == json.dumps({"made": wanted}):
        return
    if not text and any(part.exists() for part in parts):
        raise UserError(f"{folder} holds base/ or experts/ that were not made for this: name an empty --folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(marker, json.dumps({"making": wanted}))
    for part in parts:
        shutil.rmtree(part, ignore_errors=True)
    _write_base(folder / "base", shape, device)
    materialise.write_experts(folder / "experts", shape.experts, os.path.relpath(folder / "base", folder / "experts/x"))
    write_whole(marker, json.dumps({"made": wanted}))


def description(shape: Shape) -> dict[str, Any]:
    """What decides the model and the adapters, as JSON has it."""
    return {"model": shape.model, "experts": vars(shape.experts), "dtype": shape.dtype}


def _write_base(folder: Path, shape: Shape, device: str) -> None:
    torch.manual_seed(0)
    config = GemmaConfig(**shape.model, max_position_embeddings=8192, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, shape.dtype))
    # random weights end an answer once in 256,000 tokens, real experts when they are done: here nobody ends early
    model.generation_config.eos_token_id = None
    model.save_pretrained(folder)
    words = {"<pad>": 0, "<bos>": 1, "<eos>": 2} | {f"w{number}": number for number in range(3, config.vocab_size)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="w3"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    ).save_pretrained(folder)


def random_rows(shape: Shape, count: int) -> list[list[int]]:
    """Prompts as tokens, of random lengths within the shape's limits."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(shape.lengths[0], shape.lengths[1] + 1, size=count)
    return [rng.integers(3, shape.model["vocab_size"], size=int(length)).tolist() for length in lengths]


def questions(shape: Shape) -> Dataset:
    """The same prompts as the questions of a dataset."""
    texts = [" ".join(f"w{token}" for token in row) for row in random_rows(shape, shape.prompts)]
    split = tuple(Example(text, "") for text in texts)
    return Dataset("random words", split, split)
