"""What stays of a training: an adapter's folder that is whole, and what it was trained by."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from swarm.data.overlap import LEARNED
from swarm.data.tables import show
from swarm.errors import UserError
from swarm.storage.files import check_own_folder
from swarm.storage.store import KeptFolder, differences
from swarm.training.recipe import ExpertRecipe
from swarm.weights.adapters import CONFIG, WEIGHTS, read_adapter
from swarm.weights.pool import portable_base

ELSEWHERE = "move it away, or name another --out"
EXPERTS = KeptFolder("finetune.json", "trained expert", ELSEWHERE, None, ("facts",), ELSEWHERE)
LIBRARIES = ("torch", "transformers", "peft", "trl", "accelerate")
_WITHOUT_EFFECT = ("place", "name", "base", "revision", "data", "checkpoint_every")

Facts = dict[str, Any]
"""All that decides the weights: settings by name, the base's digest, the data's digests."""


def facts_of(expert: ExpertRecipe, base_digest: str, data_digests: list[str], settled: Mapping[str, Any]) -> Facts:
    """What an expert's weights depend on. Where a base or a file lies is no part of it, what they hold is.

    `settled` has the values of settings that the recipe leaves open.
    """
    settings = {name: value for name, value in asdict(expert).items() if name not in _WITHOUT_EFFECT}
    if expert.steps is not None:
        settings["epochs"] = None
    facts = settings | dict(settled) | {"base": base_digest, "data": data_digests}
    return json.loads(json.dumps(facts))  # type: ignore[no-any-return]  # tuples become what JSON has


def changed_facts(kind: KeptFolder, folder: Path, now: Facts) -> str:
    """In which facts a folder's record differs from `now`, as a message says it; "" if in none.

    Raises UserError if the folder holds no such record, or a damaged one.
    """
    kind.check_place(folder)
    before = kind.read(folder)["facts"]
    if not isinstance(before, dict):
        raise UserError(f"{folder / kind.record} is damaged (facts is {show(before)}); {kind.cure}")
    return ", ".join(
        f"{name} has changed" if name in ("base", "data") else f"{name} was {show(was)} and is now {show(is_now)}"
        for name, (was, is_now) in differences(before, now).items()
    )


def is_finished(folder: Path, facts: Facts) -> bool:
    """Whether the expert is there already; raises UserError if something else is in its place."""
    if not folder.exists():
        check_own_folder(folder)  # a link that leads nowhere
        return False
    if found := changed_facts(EXPERTS, folder, facts):
        raise UserError(f"{folder} is there, trained by another recipe ({found}): move it away, or rename the expert")
    return True


def write_expert(
    folder: Path, trained: Path, expert: ExpertRecipe, tokenizer: Any, record: dict[str, Any], learned: str
) -> None:
    """Writes an expert's folder, whole or not at all: adapter, tokenizer with chat template, records; no pickle.

    `trained` is the folder into which the trainer has saved the adapter, `learned` tells its questions again.
    Raises UserError if a weight is not finite, or there is no room.
    """
    kept = dict(record)
    with EXPERTS.writing(folder, kept) as waiting:
        config = json.loads((trained / CONFIG).read_text(encoding="utf8"))
        config["base_model_name_or_path"] = portable_base(expert.base, folder)
        config["revision"] = expert.revision
        config["target_modules"] = sorted(config["target_modules"])  # a set, which has another order in every process
        (waiting / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf8")
        shutil.copyfile(trained / WEIGHTS, waiting / WEIGHTS)
        tokenizer.save_pretrained(waiting)
        (waiting / LEARNED).write_text(learned, encoding="utf8")
        kept |= {"adapter": read_adapter(waiting).digest, "versions": library_versions()}


def library_versions() -> dict[str, str]:
    """The versions of what trains."""
    return {library: version(library) for library in LIBRARIES}
