"""Memory that a fusion of large vocabularies takes beyond its models, at its peak, in a process of its own."""

import json
import subprocess
import sys
from dataclasses import dataclass

import torch

from benchmarks.fusion_worlds import LOGITS, Members
from benchmarks.measure import Row, below, exactly
from benchmarks.memory import peak, resident
from benchmarks.parts import ROOT
from swarm.members.fusion.build import make_rows
from swarm.members.fusion.fused_step import FusedStep
from swarm.members.fusion.fusion_settings import FusionSettings
from swarm.members.fusion.rows import LazyRows

LIMIT = 1000 / 1.048576  # MiB that make a gigabyte
ROW_MEMORY = 256  # MB of each model: what a fusion takes on the smallest machine


@dataclass(frozen=True)
class Size:
    """Models, tokens of each, anchors, width of embeddings, steps."""

    models: int = 3
    tokens: int = 256_000
    anchors: int = 200_000
    width: int = 64
    steps: int = 30


def rows(size: Size) -> list[Row]:
    """The peak beyond the models, counted once."""
    command = [sys.executable, "-m", "benchmarks.fusion_memory", json.dumps(vars(size))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    found = json.loads(done.stdout)
    dense = size.models * 4e-9 * size.tokens * size.anchors
    note = (
        f"{size.models} models, V = {size.tokens:,}, d = {size.anchors:,}, D = {size.width} (float16; embeddings "
        f"not counted); {size.steps} steps, none like another; {found['kept']:,} rows worked out, room for "
        f"{found['slots']:,} of each model in the {ROW_MEMORY} MB that these may take; "
        f"dense rows would be {dense:,.0f} GB; {LOGITS}"
    )
    return [Row("fusion: memory", exactly(found["peak"], "MiB"), goals=(below(round(LIMIT)),), note=note)]


def probe(size: Size) -> dict[str, float]:
    """MiB at the peak beyond what was there before the fusion was made, and how many rows went through the cache."""
    members = Members.drawn([size.tokens] * size.models, size.anchors, size.width, torch.float16)
    members.steps(1)  # what drawing logits takes is no part of a fusion
    before = max(resident(), peak())
    settings = FusionSettings(row_memory=ROW_MEMORY)
    tables = [
        make_rows(own, ids, settings, True, False) for own, ids in zip(members.embeddings, members.anchors, strict=True)
    ]
    step = FusedStep(tables, members.anchors, settings.step)
    for number in range(size.steps):
        step(members.steps(1, seed=number)[0])
    lazy = [table for table in tables if isinstance(table, LazyRows)]
    found = {"peak": peak() - before, "kept": sum(table.misses for table in lazy)}
    return found | {"slots": lazy[0].slots if lazy else 0}


if __name__ == "__main__":
    print(json.dumps(probe(Size(**json.loads(sys.argv[1])))))
