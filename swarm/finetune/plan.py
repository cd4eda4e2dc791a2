"""What a recipe comes to: everything of it that can be checked, before any weight is loaded."""

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from swarm.errors import UserError
from swarm.finetune.base import Base, check_lora, in_chat_form, length_of, number_format, read_base
from swarm.finetune.recipe import ExpertRecipe
from swarm.finetune.results import Facts, facts_of, is_finished
from swarm.finetune.samples import Samples, read_samples
from swarm.finetune.sources import MIX_INSTRUCT
from swarm.finetune.tokens import TokenRows, token_rows
from swarm.finetune.work import check_work, work_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One expert that is checked and can be trained.

    Attributes:
      data: what the record says of every source: its name, split, number of rows and digest.
      facts: all that decides the weights.
      sitting: the facts with what the machine adds: the number format and the number of processes.
      finished: whether the expert is there already.
    """

    expert: ExpertRecipe
    base: Base
    rows: TokenRows
    data: list[dict[str, str | int]]
    facts: Facts
    sitting: Facts
    folder: Path
    work: Path
    finished: bool

    @property
    def steps(self) -> int:
        """Of the optimiser, as far as they can be told beforehand."""
        if self.expert.steps is not None:
            return self.expert.steps
        processes: int = self.sitting["processes"]
        batches = -(-len(self.rows.labels) // (self.expert.batch_size * processes))
        per_epoch = -(-batches // self.expert.gradient_accumulation)
        return math.ceil(per_epoch * self.expert.epochs)


def plan(experts: Sequence[ExpertRecipe], out: Path) -> list[Job]:
    """The jobs of some experts, in their order.

    Raises UserError for the first that cannot be trained as its recipe says, or whose place is taken.
    """
    check_surroundings()
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file, wanted a folder for the experts: name another --out")
    for expert in experts:
        number_format(expert)
    texts = {expert.name: _texts(expert) for expert in experts}
    bases: dict[tuple[str, str | None], Base] = {}
    for expert in experts:
        key = (expert.base, expert.revision)
        if key not in bases:
            bases[key] = read_base(expert)
        check_lora(expert, bases[key])
    read = {
        expert.name: token_rows(
            bases[expert.base, expert.revision].tokenizer,
            [sample for source in texts[expert.name] for sample in source.samples],
            in_chat_form(expert, bases[expert.base, expert.revision]),
            length_of(expert, bases[expert.base, expert.revision]),
        )
        for expert in experts
    }
    digests = {key: base.digest() for key, base in bases.items()}
    return [
        _job(
            expert,
            bases[expert.base, expert.revision],
            digests[expert.base, expert.revision],
            texts[expert.name],
            read[expert.name],
            out,
        )
        for expert in experts
    ]


def check_surroundings() -> None:
    """Raises UserError if TRL is missing, or if one process sees several GPUs, which it cannot share out."""
    from importlib.util import find_spec

    from swarm.finetune.recipe import EXTRA

    for library in ("trl", "peft", "datasets", "accelerate"):
        if find_spec(library) is None:
            raise UserError(f"the library {library} is needed to train experts and is missing: {EXTRA}")
    if torch.cuda.device_count() > 1 and "LOCAL_RANK" not in os.environ:
        raise UserError(
            f"{torch.cuda.device_count()} GPUs are visible to one process, wanted a process for each: start with "
            "`accelerate launch scripts/finetune.py ...`, or show it one with CUDA_VISIBLE_DEVICES=0"
        )


def processes() -> int:
    """How many processes train together, as `accelerate launch` says it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process is the one that speaks and writes."""
    return os.environ.get("RANK", "0") == "0"


def _texts(expert: ExpertRecipe) -> list[Samples]:
    found = []
    for number, source in enumerate(expert.data):
        place = f"{expert.place}: data {number}"
        samples = read_samples(place, source, np.random.default_rng([expert.seed, number]))
        if samples.split == "test" or Path(source.source).stem.startswith("test"):
            log.warning("%s trains on test data (%s), as the recipe says; do not score it there", place, source.source)
        if source.source == MIX_INSTRUCT and samples.split == "validation":
            log.warning("%s trains on the validation split of %s, from which routers learn", place, MIX_INSTRUCT)
        found.append(samples)
    return found


def _job(expert: ExpertRecipe, base: Base, digest: str, texts: Sequence[Samples], rows: TokenRows, out: Path) -> Job:
    settled = {"max_length": length_of(expert, base), "chat": in_chat_form(expert, base)}
    facts = facts_of(expert, digest, [samples.digest for samples in texts], settled)
    sitting = facts | {"dtype": str(number_format(expert)).removeprefix("torch."), "processes": processes()}
    folder, work = out / expert.name, work_folder(out, expert.name)
    finished = is_finished(folder, facts)
    if not finished:
        check_work(work, sitting)
    data: list[dict[str, str | int]] = [
        {"source": each.source, "split": each.split, "rows": len(each.samples), "digest": each.digest} for each in texts
    ]
    if rows.shortened or rows.dropped:
        log.warning(
            "%s: %d of %d rows are cut at %d tokens (max_length), %d of them left out since nothing of the answer "
            "remains", expert.place, rows.shortened, len(rows.labels) + rows.dropped, settled["max_length"],
            rows.dropped,
        )  # fmt: skip
    return Job(expert, base, rows, data, facts, sitting, folder, work, finished)
