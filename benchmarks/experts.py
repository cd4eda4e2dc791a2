"""Many experts side by side, against expert by expert; steps beside the fewest possible; a long prompt's memory.

H_SWARM_BENCH_MODEL names a real model's folder, of which LoRA experts are made up: its rows are left out without it.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.generation import mixed_prompts
from benchmarks.measure import (
    Row,
    check_equal,
    exactly,
    floor_at_most,
    interleaved,
    median_of,
    ratio_at_least,
)
from benchmarks.parts import EMBEDDED, SMALL_TASKS, completions
from swarm.data.load import load_dataset
from swarm.engines.base import Completion, GenerationParams, Request
from swarm.engines.local.pace import Pace
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.system.prompts import Query, node_prompt
from swarm.weights.pool import Expert, Pool, read_pool

MODEL = "H_SWARM_BENCH_MODEL"
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]


@dataclass(frozen=True)
class Size:
    """How much of it: experts and prompts of each; of the row of steps; of the real model's; of a long prompt."""

    experts: int = 100
    prompts: int = 30
    step_experts: int = 10
    step_prompts: int = 200
    long: int = 32_768
    real_experts: int = 8
    real_prompts: int = 24
    real_tokens: int = 64


SMALL = Size(4, 5, 3, 6, 600, 2, 2, 3)


def rows(size: Size, repeats: int) -> list[Row]:
    """The engine as it is against the same with every expert folded."""
    pool = read_pool(EMBEDDED)
    engine, folding = InProcessEngine(pool, device="cpu"), InProcessEngine(pool, device="cpu", fold=True)
    asked = [node_prompt(Query(example.question), ()) for example in load_dataset(str(SMALL_TASKS)).dev]
    requests = _requests(_mixtures(pool, size.experts), asked[: size.prompts], 16)
    found = [_against_folding("experts", engine, folding, requests, repeats, 1.3), *_steps(size, engine, pool)]
    found.append(_long(size, engine, pool))
    if folder := os.environ.get(MODEL):
        with tempfile.TemporaryDirectory() as made:
            found += _real(size, folder, Path(made), repeats)
    return found


def _mixtures(pool: Pool, count: int) -> list[Expert]:
    """Experts near the initial ones, as a search has them."""
    rng, size = np.random.default_rng(0), len(pool.names)
    return [
        pool.expert(f"expert {number}", np.eye(size)[number % size] + rng.normal(0, 0.05, size))
        for number in range(count)
    ]


def _requests(experts: Sequence[Expert], prompts: Sequence[str], new_tokens: int) -> list[Request]:
    params = GenerationParams(new_tokens)
    return [Request(expert, prompt, params) for expert in experts for prompt in prompts]


def _against_folding(
    name: str, engine: InProcessEngine, folding: InProcessEngine, requests: list[Request], repeats: int, goal: float
) -> Row:
    answered: dict[str, list[Completion]] = {}

    def way(name: str, own: InProcessEngine) -> None:
        own.expect([request.member for request in requests])
        answered[name] = completions(own, requests)

    seconds = interleaved({"ours": lambda: way("ours", engine), "folded": lambda: way("folded", folding)}, repeats)
    texts = [[completion.text for completion in answered[name]] for name in ("ours", "folded")]
    check_equal(texts[0], texts[1], "texts of experts")
    count = len({request.member.digest for request in requests})
    shared = engine.side_by_side is not None and engine.loaded == ""
    return Row(
        name,
        median_of(seconds["ours"], "s"),
        median_of(seconds["folded"], "s"),
        goals=(ratio_at_least(goal),),
        note=(
            f"{count} experts × {len(requests) // count} prompts, answers of "
            f"{sum(completion.new_tokens for completion in answered['ours']) / len(requests):.1f} tokens; texts equal; "
            f"by measured passes the engine chose {'side by side' if shared else 'to fold'}; {torch.get_num_threads()} "
            "thread(s)"
        ),
    )


def _steps(size: Size, engine: InProcessEngine, pool: Pool) -> list[Row]:
    """Decode steps of experts side by side: no batch can need fewer than its rows' tokens over the rows that it has."""
    assert engine.side_by_side is not None
    experts, prompts = _mixtures(pool, size.step_experts), mixed_prompts(size.step_prompts, engine.tokenizer)
    requests = _requests(experts, prompts, 48)
    counted = {"steps": 0}
    core, forward = engine.decoder.core, engine.decoder.core.forward  # type: ignore[union-attr]

    def counting(ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        counted["steps"] += ids.shape[1] == 1
        return forward(ids, *rest)

    mixed, folded = Pace.mixed, Pace.folded
    try:
        core.forward = counting  # type: ignore[method-assign]
        Pace.mixed, Pace.folded = (lambda *_: 0.0), (lambda *_: 1.0)  # type: ignore[method-assign,assignment]
        answered = completions(engine, requests)
    finally:
        core.forward = forward  # type: ignore[method-assign]
        Pace.mixed, Pace.folded = mixed, folded  # type: ignore[method-assign]
    tokens = [completion.new_tokens - 1 for completion in answered]
    fewest = max(-(-sum(tokens) // engine.decoder.rows), max(tokens))
    return [
        Row(
            "experts: steps",
            exactly(counted["steps"], "steps"),
            floor=exactly(fewest, "steps"),
            goals=(floor_at_most(1.15),),
            note=f"{len(experts)} experts × {len(prompts)} prompts in a cache of {engine.decoder.rows} rows; floor: "
            f"{sum(tokens):,} tokens behind the first, or the longest answer's",
        )
    ]


def _long(size: Size, engine: InProcessEngine, pool: Pool) -> Row:
    """Bytes of a long prompt's keys and values, and of the largest mask of any of its passes."""
    core, kinds = engine.decoder.core, engine.decoder.core.kinds  # type: ignore[union-attr]
    largest = {"bytes": 0}
    plain = type(kinds).masks

    def noting(self: Any, *arguments: Any) -> Any:
        masks = plain(self, *arguments)
        largest["bytes"] = max(largest["bytes"], masks.nbytes)
        return masks

    tokens = [3 + number % 50 for number in range(size.long)]
    type(kinds).masks = noting  # type: ignore[method-assign]
    try:
        engine.load(pool.experts()[0])
        list(engine.decoder.decode([tokens], 2))
    finally:
        type(kinds).masks = plain  # type: ignore[method-assign]
    held = core.kv_cache.bytes()
    engine.decoder.release()
    return Row(
        "experts: long prompt",
        exactly((held + largest["bytes"]) / 2**20, "MiB"),
        exactly((held + 4 * size.long**2) / 2**20, "MiB"),
        floor=exactly(held / 2**20, "MiB"),
        note=f"a prompt of {size.long:,} tokens: its keys and values, and the largest mask of a pass of {core.chunk} "
        "tokens; reference: the mask of one pass over all, reckoned; floor: keys and values",
    )


def _real(size: Size, folder: str, made: Path, repeats: int) -> list[Row]:
    """Random LoRA experts of a real model, with short prompts and with longer ones."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    for number in range(size.real_experts):
        torch.manual_seed(number)
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        adapted = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS))
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.01)
        adapted.save_pretrained(made / f"expert_{number}")
    pool = read_pool(made, base=folder)
    engines = [InProcessEngine(pool, device="cpu", dtype="float32", fold=fold) for fold in (None, True)]
    rng, found = np.random.default_rng(0), []
    for length, goal in ((16, 1.2), (96, 1.0)):
        prompts = [engines[0].tokenizer.decode(rng.integers(500, 20_000, length)) for _ in range(size.real_prompts)]
        requests = _requests(pool.experts(), prompts, size.real_tokens)
        name = f"experts: real model, prompts of {length}"
        found.append(_against_folding(name, engines[0], engines[1], requests, repeats, goal))
    return found
