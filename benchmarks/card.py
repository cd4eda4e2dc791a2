"""Figures of an accelerator, in pieces of less than ten minutes: swap, ways, iteration, reference.

    python scripts/bench.py --card swap ways --folder /tmp/card

The base model has Gemma-7B's shape and random weights. Needs torch, transformers, peft and the core's small packages.
"""

import gc
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers
from transformers import AutoTokenizer

from benchmarks import machine, published
from benchmarks.card_world import Shape, description, make_world, questions
from benchmarks.measure import Goal, Row, exactly, median_of, ratio_at_least
from benchmarks.parts import FirstLetter, InstantEngine, Requests, config_for, step
from swarm.engines.base import GenerationParams
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.evolution.state import SearchState, first_state
from swarm.storage.files import write_json
from swarm.system.prompts import Query, node_prompt
from swarm.weights.pool import read_pool

REFERENCE_NODES = 3
REFERENCE = "reference.json"


@dataclass
class Card:
    """One device, and a folder with the model and the adapters that are made for it."""

    shape: Shape
    folder: Path
    device: str

    def __post_init__(self) -> None:
        make_world(self.folder, self.shape, self.device)
        self.pool = read_pool(self.folder / "experts")

    @cached_property
    def bandwidth(self) -> float:
        """Bytes per second that a copy on the device reads and writes."""
        size = 2**31 if self.device != "cpu" else 2**26
        source = torch.ones(size, dtype=torch.uint8, device=self.device)
        target = torch.ones_like(source)
        return 2 * size / min(self.timed(target.copy_, source) for _ in range(10))

    def engine(self, fold: bool | None = None) -> InProcessEngine:
        """The product's engine on this device."""
        return InProcessEngine(self.pool, self.device, self.shape.dtype, fold=fold)

    def timed(self, way: Callable[..., object], *given: Any) -> float:
        """Seconds until the device has done it."""
        self.wait()
        begun = time.perf_counter()
        way(*given)
        self.wait()
        return time.perf_counter() - begun

    def wait(self) -> None:
        """Until the device has nothing to do."""
        if self.device != "cpu":
            torch.cuda.synchronize()

    def forget(self) -> None:
        """Gives back the memory of what nobody uses any more."""
        gc.collect()
        if self.device != "cpu":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def surroundings(self) -> dict[str, Any]:
        """What a time holds for: device, libraries, model and work."""
        shape = self.shape
        return description(shape) | {
            "device": machine.processor() if self.device == "cpu" else torch.cuda.get_device_name(self.device),
            "libraries": {library.__name__: library.__version__ for library in (torch, transformers, peft)},
            "work": [shape.prompts, *shape.lengths, shape.new_tokens],
        }

    def peak(self) -> str:
        """Memory at its peak, in words."""
        return "" if self.device == "cpu" else f"; peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"


def swap(card: Card) -> list[Row]:
    """The cost of another expert: its share of materialising all together, and placing it."""
    return [_swaps(card, fold) for fold in (True, False)]


def _swaps(card: Card, fold: bool) -> Row:
    card.forget()
    engine, count = card.engine(fold), len(card.pool.names)
    mixtures = np.random.default_rng(0).dirichlet(np.ones(count), size=(2, count))
    for some in mixtures:  # the first ones warm the engine up
        experts = [card.pool.expert(name, row) for name, row in zip(card.pool.names, some, strict=True)]
        engine.expect(experts)
        seconds = [card.timed(engine.load, expert) for expert in experts]
    return Row(
        f"swap, {'folded' if fold else 'PEFT layers'}",
        median_of(seconds[1:], "ms", 1000),
        goals=(Goal("< 50 ms", lambda row: row.ours.value < 50),),
        note=f"the first of {count} new mixtures, with which all are materialised: {1000 * seconds[0]:,.0f} ms"
        + card.peak(),
    )


def iteration(card: Card) -> list[Row]:
    """A role step and a weight step with an empty memory; beside them the reference, if it was timed before."""
    shape = card.shape
    config, dataset = config_for(shape.graphs), questions(shape)
    state = _after_the_start(card)
    card.forget()
    engine = card.engine()
    requests = Requests(engine)
    problem = requests.problem(card.pool, config, dataset, _Answering(shape.new_tokens))

    def steps() -> None:
        nonlocal state
        for _ in range(2):
            state = step(problem, requests, state)

    seconds = card.timed(steps)
    nodes, asked = 2 * shape.graphs * len(card.pool.names), requests.meter.usage
    node_seconds, why_not = _timed_reference(card)
    note = (
        f"{asked.generations:,} generations of {nodes * shape.prompts:,} requests, {asked.new_tokens / seconds:,.0f} "
        f"new tokens/s; batches hold {engine.token_budget:,} tokens; out of memory {engine.halvings} times{card.peak()}"
    )
    if node_seconds is None:
        note += f"; {why_not}"
    else:
        note += f"; reference: {REFERENCE_NODES} nodes timed ({node_seconds:.1f} s each), times {nodes}"
    reference = None if node_seconds is None else exactly(node_seconds * nodes, "s")
    return [Row("iteration", exactly(seconds, "s"), reference, goals=(ratio_at_least(15),), note=note)]


def _timed_reference(card: Card) -> tuple[float | None, str]:
    """The seconds of a node that the piece `reference` has noted for this card and work; else why there are none."""
    path, here = card.folder / REFERENCE, card.surroundings()
    if not path.is_file():
        return None, "no reference was timed (--card reference)"
    try:
        record = json.loads(path.read_text(encoding="utf8"))
        others = [name for name, value in here.items() if record["surroundings"].get(name) != value]
        seconds = float(record["seconds"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, f"{path} does not say what it was timed on: time it again (--card reference)"
    if others:
        return None, f"{path} was timed with another {', '.join(others)}: time it again (--card reference)"
    return seconds, ""


class _Answering(FirstLetter):
    def __init__(self, new_tokens: int):
        super().__init__()
        self._new_tokens = new_tokens

    def params(self, dataset: Any) -> GenerationParams:
        return GenerationParams(self._new_tokens)


def _after_the_start(card: Card) -> SearchState:
    """The state before the first iteration, from scores that mean nothing."""
    instant = Requests(InstantEngine())
    problem = instant.problem(card.pool, config_for(card.shape.graphs), questions(card.shape), FirstLetter())
    return step(problem, instant, step(problem, instant, first_state(0)))


def reference(card: Card) -> list[Row]:
    """Nodes by the published procedure: base and adapter from disk, batches of ten in the given order."""
    shape, seconds = card.shape, []
    tokenizer = AutoTokenizer.from_pretrained(card.folder / "base", padding_side="left")
    prompts = [node_prompt(Query(example.question), []) for example in questions(shape).dev]
    for adapter in card.pool.adapters[:REFERENCE_NODES]:
        card.forget()
        seconds.append(card.timed(_node, card, adapter.folder, tokenizer, prompts))
    mean = sum(seconds) / len(seconds)
    write_json(card.folder / REFERENCE, {"seconds": mean, "surroundings": card.surroundings()})
    note = f"one node, mean of {len(seconds)}: {', '.join(f'{each:.1f}' for each in seconds)} s; source nodes, whose "
    return [Row("reference", exactly(mean, "s"), note=note + f"prompts are the shortest{card.peak()}")]


def _node(card: Card, adapter: Path, tokenizer: Any, prompts: list[str]) -> None:
    dtype = getattr(torch, card.shape.dtype)
    model = published.load_expert(str(card.folder / "base"), adapter, dtype, card.device)
    published.generated(model, tokenizer, prompts, GenerationParams(card.shape.new_tokens))
