"""How long an engine takes for what it is asked, as the model of time that `scripts/simulate.py` reckons with."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from benchmarks.generation import mixed_prompts
from benchmarks.measure import Row, exactly, median_of
from benchmarks.parts import EMBEDDED, completions
from swarm.engines.base import Completion, GenerationParams, Member, Request
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.weights.pool import read_pool

PARTS = {
    "batch": "for every batch, whatever is in it",
    "read": "for every token of a prompt",
    "step": "for every step of decoding, until the last row of a batch has ended",
    "row": "for every token that is written, on top",
}


@dataclass(frozen=True)
class Size:
    """How much of it: experts' folder, the one that speaks, prompts of a batch, most tokens of an answer."""

    experts: Path = EMBEDDED
    speaker: int = 2
    prompts: tuple[int, ...] = (1, 4, 16, 64, 128)
    new_tokens: tuple[int, ...] = (1, 4, 16, 48)


SMALL = Size(prompts=(1, 4), new_tokens=(1, 4))


def rows(size: Size, repeats: int) -> list[Row]:
    """Microseconds of every part, fitted to whole batches, and of an expert that is put together and in place."""
    pool = read_pool(size.experts)
    engine, expert = InProcessEngine(pool, device="cpu"), pool.experts()[size.speaker]
    texts = mixed_prompts(max(size.prompts), AutoTokenizer.from_pretrained(pool.base, padding_side="left"))
    kinds = [(count, new) for count in size.prompts for new in size.new_tokens]

    def batch(member: Member, count: int, new: int) -> tuple[float, list[Completion]]:
        requests = [Request(member, text, GenerationParams(new)) for text in texts[:count]]
        begun = time.perf_counter()
        answered = completions(engine, requests)
        return time.perf_counter() - begun, answered

    for count, new in kinds:
        batch(expert, count, new)
    timed = [batch(expert, count, new) for _ in range(repeats) for count, new in kinds]
    found = fitted([features(answered) for _, answered in timed], [seconds for seconds, _ in timed])
    swaps = []
    for turn in range(repeats):
        new_expert = pool.expert("mixed", np.random.default_rng(turn).dirichlet(np.ones(len(pool.names))))
        engine.expect([new_expert])
        first, again = (batch(new_expert, 1, 1)[0] for _ in range(2))
        swaps.append(max(first - again, 0.0))
    note = f"{len(timed)} batches of {min(size.prompts)} to {max(size.prompts)} prompts, answers of at most " + (
        f"{max(size.new_tokens)} tokens; " + "{}"
    )
    return [
        *(Row(f"pace: {name}", exactly(found[name] * 1e6, "µs"), note=note.format(PARTS[name])) for name in PARTS),
        Row("pace: swap", median_of(swaps, "µs", 1e6), note="to put together a new expert, and put it in place"),
    ]


def features(answered: list[Completion]) -> list[float]:
    """Of a batch, how often each part occurs in it: batches, tokens read, steps, tokens written."""
    written = [completion.new_tokens for completion in answered]
    return [1, sum(completion.prompt_tokens for completion in answered), max(written), sum(written)]


def fitted(occurrences: list[list[float]], seconds: list[float]) -> dict[str, float]:
    """Seconds of every part, none below 0, that come closest to those of the batches in proportion."""
    matrix, names = np.array(occurrences) / np.array(seconds)[:, None], list(PARTS)
    while True:
        solution = np.linalg.lstsq(matrix, np.ones(len(seconds)), rcond=None)[0]
        if (solution >= 0).all() or len(names) == 1:
            return dict.fromkeys(PARTS, 0.0) | dict(zip(names, np.maximum(solution, 0).tolist(), strict=True))
        worst = int(np.argmin(solution))
        matrix = np.delete(matrix, worst, axis=1)
        del names[worst]
