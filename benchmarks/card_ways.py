"""Ways of decoding on an accelerator, on the same prompts: which the product should use."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from benchmarks.card import Card
from benchmarks.card_world import random_rows
from benchmarks.measure import Row, exactly, floor_at_most, median_of
from swarm.engines.local.token_budget import cache_bytes

TRIALS = 3
Way = Callable[[list[list[int]], int], object]


def ways(card: Card) -> list[Row]:
    """Tokens per second after the first of every row, way by way and batch size by batch size."""
    return [*_kv_cache(card, True), *_kv_cache(card, False), *_libraries_own(card)]


def _kv_cache(card: Card, fold: bool) -> list[Row]:
    card.forget()
    decoder = card.engine(fold).decoder

    def way(rows: list[list[int]], new: int) -> None:
        list(decoder.decode(rows, new))

    return _rows(card, f"grid, {'folded' if fold else 'PEFT layers'}", way, decoder.model)


def _libraries_own(card: Card) -> list[Row]:
    card.forget()
    dtype = getattr(torch, card.shape.dtype)
    model: Any = AutoModelForCausalLM.from_pretrained(card.folder / "base", dtype=dtype).to(card.device)

    def growing(rows: list[list[int]], new: int) -> None:
        _generate(card, model, rows, new)

    def static(rows: list[list[int]], new: int) -> None:
        _generate(card, model, rows, new, cache_implementation="static")

    def continuous(rows: list[list[int]], new: int) -> None:
        model.generation_config.max_new_tokens = new
        model.generation_config.do_sample = False
        model.generate_batch(inputs=rows, generation_config=model.generation_config, progress_bar=False)

    found = [
        *_rows(card, "generate, growing cache", growing, model),
        *_rows(card, "generate, static cache", static, model),
    ]
    # transformers pages its cache on accelerators only
    return found if card.device == "cpu" else [*found, *_rows(card, "continuous batching", continuous, model)]


@torch.inference_mode()
def _generate(card: Card, model: Any, rows: list[list[int]], new: int, **settings: str) -> None:
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=card.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=card.device)
    model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=new, **settings)


def _rows(card: Card, name: str, way: Way, model: Any) -> list[Row]:
    """The floor: every step reads the weights and the keys and values that are held once, at a copy's speed."""
    weights = sum(parameter.nbytes for parameter in model.parameters())
    per_token = cache_bytes(model.config, getattr(torch, card.shape.dtype))
    rows = []
    for count in card.shape.batches:
        prompts = random_rows(card.shape, count)
        held = sum(len(row) + card.shape.new_tokens / 2 for row in prompts) * per_token
        rows.append(_row(card, f"decode {count} rows, {name}", way, prompts, count * card.bandwidth / (weights + held)))
    return rows


def _row(card: Card, name: str, way: Way, prompts: list[list[int]], floor: float) -> Row:
    new, count = card.shape.new_tokens, len(prompts)
    way(prompts, new)
    reading = float(np.median([card.timed(way, prompts, 1) for _ in range(TRIALS)]))
    whole = [card.timed(way, prompts, new) for _ in range(TRIALS)]
    return Row(
        name,
        median_of([count * (new - 1) / (seconds - reading) for seconds in whole], "tokens/s"),
        floor=exactly(floor, "tokens/s"),
        goals=(floor_at_most(2),),
        note=f"reading {sum(map(len, prompts)):,} tokens: {reading:.2f} s{card.peak()}",
    )
