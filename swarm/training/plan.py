"""What a recipe comes to: everything of it that can be checked, before any weight is loaded."""

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from swarm.data.overlap import learned_keys
from swarm.engines.local.devices import what_is_unusual
from swarm.errors import UserError
from swarm.training.base_models import Base, check_lora, in_chat_form, length_of, read_base, training_format
from swarm.training.recipe import EXTRA, DataSource, ExpertRecipe
from swarm.training.samples import Samples, read_samples
from swarm.training.sources import MIX_INSTRUCT
from swarm.training.tokens import TokenRows, token_rows
from swarm.training.trained_adapter import Facts, facts_of, is_finished
from swarm.training.work_folder import check_work, work_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingJob:
    """One expert that is checked and can be trained.

    Attributes:
      data: what the record says of every source: its name, split, number of rows and digest.
      facts: all that decides the weights.
      sitting: the facts with what the machine adds: the number format and the number of processes.
      finished: whether the expert is there already.
      learned: the content of the file that tells its questions again.
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
    learned: str

    @property
    def steps(self) -> int:
        """Of the optimiser, as far as they can be told beforehand."""
        if self.expert.steps is not None:
            return self.expert.steps
        processes: int = self.sitting["processes"]
        batches = -(-len(self.rows.labels) // (self.expert.batch_size * processes))
        per_epoch = -(-batches // self.expert.gradient_accumulation)
        return math.ceil(per_epoch * self.expert.epochs)


def plan(experts: Sequence[ExpertRecipe], out: Path) -> list[TrainingJob]:
    """The jobs of some experts, in their order.

    Raises UserError for the first that cannot be trained as its recipe says, or whose place is taken.
    """
    there = next(place for place in (out, *out.absolute().parents) if place.exists())
    if not there.is_dir():
        raise UserError(f"{there} is a file, wanted a folder for the experts: name another --out")
    if not os.access(there, os.W_OK):
        raise UserError(f"{there} cannot be written to, wanted a folder for the experts: name another --out")
    formats = [training_format(expert) for expert in experts]
    if open_ones := [each for expert, each in zip(experts, formats, strict=True) if expert.dtype is None]:
        where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if unusual := what_is_unusual(where, open_ones[0], None, "dtype"):
            log.warning("%s", unusual)
    _warn_of_kinds(experts)
    reader = _SharedReader()
    read = [(expert, reader.base(expert), reader.texts(expert)) for expert in experts]
    rows = [reader.rows(*each) for each in read]
    return [
        _job(expert, base, reader.digest(expert), texts, tokens, out)
        for (expert, base, texts), tokens in zip(read, rows, strict=True)
    ]


def _warn_of_kinds(experts: Sequence[ExpertRecipe]) -> None:
    """Says so if no pool will take all experts together."""
    first = experts[0]
    for other in experts[1:]:
        lora, others = (replace(expert.lora, dropout=0.0) for expert in (first, other))
        if (first.base, first.revision, lora) != (other.base, other.revision, others):
            log.warning(
                "%s and %s differ in base or lora, and a search combines experts of one kind: give each kind a folder "
                "of its own with --only and --out", first.name, other.name,
            )  # fmt: skip
            return


class _SharedReader:
    """Bases, texts and tokens, each read once for all experts that share it."""

    def __init__(self) -> None:
        self._bases: dict[tuple[str, str | None], Base] = {}
        self._digests: dict[tuple[str, str | None], str] = {}
        self._texts: dict[str, Samples] = {}
        self._rows: dict[str, TokenRows] = {}

    def base(self, expert: ExpertRecipe) -> Base:
        """An expert's base, which has the layers that its adapter is for."""
        key = (expert.base, expert.revision)
        if key not in self._bases:
            self._bases[key] = read_base(expert)
        check_lora(expert, self._bases[key])
        length_of(expert, self._bases[key])
        return self._bases[key]

    def digest(self, expert: ExpertRecipe) -> str:
        """That of its base, whose weights are fetched for it."""
        key = (expert.base, expert.revision)
        if key not in self._digests:
            self._digests[key] = self._bases[key].digest()
        return self._digests[key]

    def texts(self, expert: ExpertRecipe) -> list[Samples]:
        """What its sources teach, in their order."""
        found = []
        for number, source in enumerate(expert.data):
            drawn = [expert.seed, number] if source.share < 1 else [0, 0]
            key = f"{source} {drawn}"
            if key not in self._texts:
                place = f"{expert.place}: data {number}"
                self._texts[key] = read_samples(place, source, np.random.default_rng(drawn))
                _warn(place, source, self._texts[key])
            found.append(self._texts[key])
        return found

    def rows(self, expert: ExpertRecipe, base: Base, texts: Sequence[Samples]) -> TokenRows:
        """Its texts as its base reads them."""
        chat, length = in_chat_form(expert, base), length_of(expert, base)
        key = f"{expert.base} {expert.revision} {expert.chat} {chat} {length} {[id(each) for each in texts]}"
        if key not in self._rows:
            samples = [sample for source in texts for sample in source.samples]
            if expert.chat is not None:  # which goes before what an eval would do
                samples = [replace(sample, in_chat=None) for sample in samples]
            rows = self._rows[key] = token_rows(base.tokenizer, samples, chat, length)
            if rows.shortened:
                log.warning(
                    "%s: %d of %d rows are cut at %d tokens (max_length), %d of them left out since nothing of the "
                    "answer remains", expert.place, rows.shortened, len(samples), length, rows.dropped,
                )  # fmt: skip
        return self._rows[key]


def _warn(place: str, source: DataSource, samples: Samples) -> None:
    """Says what an evaluation may not know of what is trained on."""
    if samples.split == "test" or Path(source.source).stem.startswith("test"):
        log.warning("%s trains on test data (%s), as the recipe says; do not score it there", place, source.source)
    if source.source == MIX_INSTRUCT and samples.split == "validation":
        log.warning("%s trains on the validation split of %s, from which routers learn", place, MIX_INSTRUCT)
    if samples.skipped:
        log.warning("%s: %d rows of %s are passed over, as a text is empty", place, samples.skipped, source.source)


def check_surroundings() -> None:
    """Raises UserError if TRL is missing, or if one process sees several GPUs, which it cannot share out."""
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
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def is_main() -> bool:
    """Whether this process is the one that speaks and writes."""
    return "LOCAL_RANK" not in os.environ or os.environ.get("RANK", "0") == "0"


def _job(
    expert: ExpertRecipe, base: Base, digest: str, texts: Sequence[Samples], rows: TokenRows, out: Path
) -> TrainingJob:
    chat = in_chat_form(expert, base)
    settled: Facts = {"max_length": length_of(expert, base), "chat": chat}
    if expert.chat is None and chat and (plain := sum(one.in_chat is False for each in texts for one in each.samples)):
        settled["without_chat"] = plain
    facts = facts_of(expert, digest, [samples.digest for samples in texts], settled)
    machine = {"dtype": str(training_format(expert)).removeprefix("torch."), "processes": processes()}
    sitting = facts | machine | {"batches": "rows of near lengths"}
    folder, work = out / expert.name, work_folder(out, expert.name)
    finished = is_finished(folder, facts)
    if not finished:
        check_work(work, sitting)
    data: list[dict[str, str | int]] = [
        {"source": each.source, "split": each.split, "rows": len(each.samples), "digest": each.digest} for each in texts
    ]
    learned = learned_keys(sample.question for each in texts for sample in each.samples)
    return TrainingJob(expert, base, rows, data, facts, sitting, folder, work, finished, learned)
