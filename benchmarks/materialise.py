"""LoRA experts of the size of Gemma-7B's, moved and materialised, against merges from file to file."""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks import published
from benchmarks.machine import copying
from benchmarks.measure import Different, Measured, Row, floor_at_most, interleaved, median_of, ratio_at_least
from benchmarks.parts import config_for, materialised
from swarm.engines.local.expert_store import ExpertStore
from swarm.evolution.state import first_state
from swarm.maths import pso
from swarm.weights.adapters import write_adapter
from swarm.weights.pool import Pool, read_pool


@dataclass(frozen=True)
class Size:
    """How much of it: experts, layers, width of the model and of its heads together, rank.

    `reference_experts` are timed with the reference, and their time is multiplied.
    """

    experts: int = 10
    layers: int = 28
    width: int = 3072
    heads: int = 4096
    rank: int = 16
    reference_experts: int = 3


SMALL = Size(experts=3, layers=2, width=16, heads=32, rank=4, reference_experts=2)


def rows(size: Size, repeats: int) -> list[Row]:
    """All experts moved once and brought into memory; the floor is a copy of as many bytes at the machine's speed."""
    with tempfile.TemporaryDirectory() as folder:
        write_experts(Path(folder) / "experts", size)
        pool = read_pool(Path(folder) / "experts", base="none")
        swarm = _swarm(size.experts)
        models = Path(folder) / "models"
        _lay_out(models, pool, swarm, size.reference_experts)
        _check_sums(models, pool, swarm, size.reference_experts)
        one = sum(4 * rows * columns for rows, columns in _shapes(size).values())
        search = _Search(pool, swarm)
        # the engine keeps two steps' experts, so that the third is the first one in memory that was used before
        first = [_seconds_of(search.iteration) for _ in range(2)]
        ways: dict[str, Callable[[], object]] = {
            "ours": search.iteration,
            "new": partial(_ours, pool, swarm),
            "reference": partial(_moved_by_files, models, swarm, size.reference_experts),
            "floor": copying(size.experts * one),
        }
        seconds = interleaved(ways, repeats)
    return _table_rows(size, {name: median_of(values, "s") for name, values in seconds.items()}, one, first)


def _seconds_of(way: Callable[[], object]) -> float:
    begun = time.perf_counter()
    way()
    return time.perf_counter() - begun


def _table_rows(size: Size, figures: dict[str, Measured], one: int, first: list[float]) -> list[Row]:
    """The figures by way; `one` is the bytes of an expert, `first` the seconds of a search's first steps."""
    times, floor = size.experts / size.reference_experts, figures["floor"]
    reference = figures["reference"].times(times)
    about = (
        f"{size.experts} experts of {one / 1e6:,.1f} MB (rank {size.rank} on q, k, v, o of {size.layers} layers, "
        f"float32), {torch.get_num_threads()} thread(s)"
    )
    theirs = (
        "in the memory of the last ones; reference: 5 merges and a load each, timed on "
        f"{size.reference_experts} experts and multiplied by {times:.2f}; floor: as many bytes copied in memory, "
        f"{2e-9 * size.experts * one / floor.value:,.1f} GB/s read and written"
    )
    goals = (ratio_at_least(15), floor_at_most(2))
    return [
        Row(
            "materialise",
            figures["ours"],
            reference,
            floor,
            goals,
            f"{about}, {theirs}",
        ),
        Row(
            "materialise: new memory",
            figures["new"],
            reference,
            floor,
            note=f"{about}; files opened anew, memory never used before; a search's first two steps: "
            + " and ".join(f"{seconds:.2f} s" for seconds in first),
        ),
    ]


def _shapes(size: Size) -> dict[str, tuple[int, int]]:
    """PEFT's tensor names with their shapes."""
    shapes: dict[str, tuple[int, int]] = {}
    for layer in range(size.layers):
        for module, (into, out) in {
            **dict.fromkeys(("q_proj", "k_proj", "v_proj"), (size.width, size.heads)),
            "o_proj": (size.heads, size.width),
        }.items():
            stem = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            shapes[f"{stem}.lora_A.weight"] = (size.rank, into)
            shapes[f"{stem}.lora_B.weight"] = (out, size.rank)
    return shapes


def write_experts(folder: Path, size: Size, base: str = "none") -> None:
    """Adapters of random numbers as PEFT writes them; `base` is what they name as their base model."""
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": size.rank,
        "lora_alpha": size.rank,
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
    }
    generator = torch.Generator().manual_seed(0)
    for index in range(size.experts):
        target = folder / f"expert_{index}"
        target.mkdir(parents=True)
        tensors = {name: 0.02 * torch.randn(shape, generator=generator) for name, shape in _shapes(size).items()}
        save_file(tensors, target / published.WEIGHTS, {"format": "pt"})
        (target / published.CONFIG).write_text(json.dumps(config), encoding="utf8")


def _swarm(experts: int) -> pso.Swarm:
    """Experts at positions that are mixtures of all, as they are after some moves."""
    rng = np.random.default_rng(0)
    first = pso.start_swarm(np.eye(experts), rng.uniform(size=experts), rng.normal(size=(experts, experts)), 0.5)
    return pso.remember_scores(_moved(first), rng.uniform(size=experts))


def _moved(swarm: pso.Swarm) -> pso.Swarm:
    config = config_for(2)
    return pso.move_all(swarm, config.move_coefficients, config.restart_rule, first_state(0).generator("experts"))


class _Search:
    """A weight swarm that moves on with every iteration, its experts kept as an engine keeps them."""

    def __init__(self, pool: Pool, swarm: pso.Swarm):
        self._pool, self._swarm = pool, swarm
        self._store = ExpertStore(pool)

    def iteration(self) -> None:
        """All experts moved, and each asked for."""
        self._swarm = _moved(self._swarm)
        experts = self._pool.experts(self._swarm.positions)
        self._store.expect(experts)
        for expert in experts:
            self._store.weights(expert)


def _ours(pool: Pool, swarm: pso.Swarm) -> list[Any]:
    """All experts moved once, from the files into new memory."""
    return materialised(pool, _moved(swarm).positions)


def _check_sums(models: Path, pool: Pool, swarm: pso.Swarm, experts: int) -> None:
    """Raises Different unless both ways bring the same numbers, but for the order in which float32 sums round."""
    for ours, theirs in zip(_ours(pool, swarm), _moved_by_files(models, swarm, experts), strict=False):
        for name, tensor in theirs.items():
            if not torch.allclose(ours.tensors[name], tensor, rtol=1e-4, atol=1e-5):
                worst = float((ours.tensors[name] - tensor).abs().max())
                raise Different(f"moved experts: tensor {name} differs by up to {worst:.2g}")


def _moved_by_files(models: Path, swarm: pso.Swarm, experts: int) -> list[dict[str, torch.Tensor]]:
    """The first experts moved and loaded; every further call moves them on."""
    rng, config = first_state(0).generator("experts"), config_for(2)
    loaded = []
    for index in range(experts):
        terms = pso.draw_term_weights(config.move_coefficients, rng).tolist()
        folder = models / f"model_{index}"
        move = published.Move(tuple(terms), swarm.step_length)
        published.move_expert(folder, models / "global_best", models / "global_worst", move)
        loaded.append(load_file(folder / "now" / published.WEIGHTS))
    return loaded


def _lay_out(models: Path, pool: Pool, swarm: pso.Swarm, experts: int) -> None:
    vectors = {"global_best": swarm.global_best, "global_worst": swarm.global_worst}
    for index in range(experts):
        vectors[f"model_{index}/now"] = swarm.positions[index]
        vectors[f"model_{index}/velocity"] = swarm.velocities[index]
        vectors[f"model_{index}/personal_best"] = swarm.personal_bests[index]
    for name, vector in vectors.items():
        [weights] = materialised(pool, vector[None])
        write_adapter(models / name, weights, pool.base, None)
