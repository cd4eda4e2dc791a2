"""The benchmarks by name, and the running of them. A new one is a file of that name and a line here."""

import importlib
import sys
import time
import warnings

from benchmarks.measure import Different, Row
from swarm.errors import UserError

BENCHMARKS = {
    "iteration": "one whole iteration on the embedded experts, against the published procedure and bare forward calls",
    "sharing": "requests of a step pair that need no generation, against what the graphs' structure allows",
    "generation": "tokens per second on mixed lengths, against plain generate in batches of ten",
    "scheduler": "microseconds per request with an engine that answers at once",
    "materialise": "ten LoRA experts of Gemma-7B's size moved and materialised, against merges from file to file",
    "state": "writing the state after a step and resuming from it, early and late in a search",
    "memory": "resident memory of a search: its peak and its growth",
    "judges": "questions to a judge eight at a time, against one at a time",
    "full_models": "whole models read, placed and mixed, against from_pretrained and sums in Python",
}


def run_benchmarks(names: list[str], repeats: int, small: bool) -> tuple[list[Row], list[str]]:
    """Rows of these benchmarks in order, and what has gone wrong: one text per benchmark that has stopped."""
    from benchmarks.parts import threads_as_before
    from swarm.engine import quieten_libraries

    quieten_libraries()
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")  # PEFT's own call
    rows: list[Row] = []
    failures: list[str] = []
    for name in names:
        module, begun = importlib.import_module(f"benchmarks.{name}"), time.monotonic()
        print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
        try:
            with threads_as_before():
                rows += module.rows(module.SMALL if small else module.Size(), repeats)
        except (Different, UserError) as error:
            failures.append(f"{name}: {error}")
        print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    return rows, failures
