"""The benchmarks by name, and the running of them. A new one is a file of that name and a line here."""

import importlib
import sys
import time
import warnings
from pathlib import Path

from benchmarks.measure import Different, Row
from swarm.errors import UserError

BENCHMARKS = {
    "iteration": "one whole iteration on the embedded experts, against the published procedure and bare forward calls",
    "sharing": "requests of a step pair that need no generation, against what the graphs' structure allows",
    "generation": "tokens per second on mixed lengths, against plain generate in batches of ten",
    "experts": "requests of many experts side by side against one after the other; steps; a long prompt's memory",
    "scheduler": "microseconds per request with an engine that answers at once",
    "pace": "microseconds of an engine for every batch, token and step: what scripts/simulate.py reckons with",
    "scale": "two worker processes against one, beside the gain of two independent processes",
    "materialise": "ten LoRA experts of Gemma-7B's size moved and materialised, against merges from file to file",
    "state": "writing the state after a step and resuming from it, early and late in a search",
    "memory": "resident memory of a search: its peak and its growth",
    "judges": "questions to a judge eight at a time, against one at a time",
    "full_models": "whole models read, placed and mixed, against from_pretrained and sums in Python",
    "routing": "a prompt to one expert, against all, a ranker and a fuser: quality, operations, latency, memory",
    "reading": "an answer read out of a reply, of every kind, and what that grows to with its length",
    "fusion": "models with different vocabularies: the fused step, a whole decoding, memory, against dense rows",
}

# both ways: more threads make models this small slower, and very much slower where the machine is not idle
ONE_THREAD = ("iteration", "generation", "experts", "memory", "routing", "pace", "scale")
CARD = ("swap", "ways", "reference", "iteration", "fusion")


def run_benchmarks(names: list[str], repeats: int, small: bool) -> tuple[list[Row], list[str]]:
    """Rows of these benchmarks in order, and what has gone wrong: one text per benchmark that has stopped."""
    from benchmarks.parts import threads_as_before
    from swarm.programs.engine_choice import quieten_libraries

    quieten_libraries()
    _quieten_peft()
    _quieten_reference_of_fusion()
    rows: list[Row] = []
    failures: list[str] = []
    for name in names:
        module, begun = importlib.import_module(f"benchmarks.{name}"), time.monotonic()
        print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
        try:
            with threads_as_before(one=name in ONE_THREAD):
                rows += module.rows(module.SMALL if small else module.Size(), repeats)
        except (Different, UserError) as error:
            failures.append(f"{name}: {error}")
        print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    return rows, failures


def check_card(shape: str, folder: Path | None, device: str) -> None:
    """Raises UserError unless a card's pieces can be measured."""
    import torch

    from benchmarks.card_world import SHAPES

    if shape not in SHAPES:
        raise UserError(f"no shape {shape!r}; there are {', '.join(SHAPES)}")
    if folder is None:
        raise UserError("--card needs --folder: where the model that is made for it is kept from piece to piece")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("torch sees no CUDA device here; name another --device, or leave --card out")


def run_card(pieces: list[str], shape: str, folder: Path, device: str) -> list[Row]:
    """Rows of these pieces; each is shown as soon as it is there, since the next may take long."""
    from benchmarks import card
    from benchmarks.card_fusion import fusion
    from benchmarks.card_ways import ways
    from benchmarks.card_world import SHAPES
    from swarm.programs.engine_choice import quieten_libraries

    quieten_libraries()
    _quieten_peft()
    measured = card.Card(SHAPES[shape], folder, device)
    act = {"swap": card.swap, "ways": ways, "reference": card.reference, "iteration": card.iteration}
    act["fusion"] = fusion
    print(f"copy on {device}: {measured.bandwidth / 1e9:,.0f} GB/s read and written", flush=True)
    rows: list[Row] = []
    for piece in pieces:
        begun = time.monotonic()
        found = act[piece](measured)
        rows += found
        print(
            f"{piece}: {time.monotonic() - begun:.0f} s",
            *(" | ".join(row.cells(True)) for row in found),
            sep="\n",
            flush=True,
        )
    return rows


def _quieten_peft() -> None:
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")


def _quieten_reference_of_fusion() -> None:
    warnings.filterwarnings("ignore", message="reduction: 'mean' divides the total loss by both")  # as it was published
