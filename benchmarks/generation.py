"""Tokens per second of our engine on prompts and answers of mixed lengths, against plain `generate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from benchmarks import published
from benchmarks.measure import Row, check_equal, interleaved, rate_of, ratio_at_least
from benchmarks.parts import EMBEDDED, SMALL_TASKS, completions
from swarm.data.load import load_dataset
from swarm.engines.base import Completion, GenerationParams, Request
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.system.prompts import Query, node_prompt
from swarm.weights.pool import read_pool


@dataclass(frozen=True)
class Size:
    """How much of it: experts' folder, the one that speaks, dev prompts, most tokens of an answer."""

    experts: Path = EMBEDDED
    speaker: int = 2
    prompts: int = 240
    new_tokens: int = 48


SMALL = Size(prompts=12, new_tokens=8)


def rows(size: Size, repeats: int) -> list[Row]:
    """The engine against batches of ten in the given order on the same model, loaded and merged beforehand."""
    pool = read_pool(size.experts)
    engine, expert = InProcessEngine(pool, device="cpu"), pool.experts()[size.speaker]
    tokenizer = AutoTokenizer.from_pretrained(pool.base, padding_side="left")
    prompts, params = mixed_prompts(size.prompts, tokenizer), GenerationParams(size.new_tokens)
    requests = [Request(expert, prompt, params) for prompt in prompts]
    model = published.load_expert(pool.base, pool.adapters[size.speaker].folder).merge_and_unload()
    answered: list[Completion] = []

    def ours() -> None:
        answered[:] = completions(engine, requests)

    def reference() -> None:
        texts = published.generated(model, tokenizer, prompts, params)
        check_equal([completion.text for completion in answered], texts, "texts of one expert")

    seconds = interleaved({"ours": ours, "reference": reference}, repeats)
    read, written = [c.prompt_tokens for c in answered], [c.new_tokens for c in answered]
    return [
        Row(
            "generation",
            rate_of(seconds["ours"], sum(written), "tokens/s"),
            rate_of(seconds["reference"], sum(written), "tokens/s"),
            goals=(ratio_at_least(2),),
            note=(
                f"{len(prompts)} prompts of {min(read)} to {max(read)} tokens ({sum(read):,} together), answers of "
                f"{min(written)} to {max(written)} ({sum(written):,}, which are counted; {sum(w > 3 for w in written)} "
                f"longer than 3); texts equal; {torch.get_num_threads()} thread(s); reference: adapter merged, so that "
                "it computes no more than ours"
            ),
        )
    ]


def mixed_prompts(count: int, tokenizer: Any) -> list[str]:
    """Dev questions as first and as later nodes are told them, and for every four of them a long and two short ones.

    The short ones are one or two words without sense, to which the toy experts now and then talk without end.
    """
    rng = np.random.default_rng(0)
    asked = [example.question for example in load_dataset(str(SMALL_TASKS)).dev]
    words = sorted(word for word in tokenizer.get_vocab() if word not in tokenizer.all_special_tokens)
    prompts = []
    for number in range(count):
        question = asked[number % len(asked)]
        told = tuple(str(answer) for answer in rng.choice(words, size=rng.integers(1, 5))) if number % 2 else ()
        prompts.append(node_prompt(Query(question), told))
        if number % 4 == 0:
            prompts.append(node_prompt(Query(" ".join(rng.choice(asked, size=rng.integers(2, 16)))), ()))
            prompts += [" ".join(rng.choice(words, size=rng.integers(1, 3))) for _ in range(2)]
    return [prompts[index] for index in rng.permutation(len(prompts))]
