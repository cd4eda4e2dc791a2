"""The work folder of an expert that is being trained: the trainer's states, of which only whole ones are used.

It lies hidden beside the expert's folder, where a pool passes it over, and is removed when the expert is written. The
trainer keeps optimiser and generators in files of torch, which transformers reads as plain tensors only.
"""

import logging
import re
import shutil
from pathlib import Path

from swarm.errors import UserError
from swarm.evolution.run_folder import WRITTEN_BY_WANDB
from swarm.storage.files import check_own_folder, check_own_tree, tidy, write_json
from swarm.storage.store import KeptFolder
from swarm.training.trained_adapter import Facts, changed_facts, library_versions

log = logging.getLogger(__name__)

AGAIN = "remove the folder to begin again"
STOPPED = KeptFolder("facts.json", "training that was stopped", AGAIN, None, ("facts",), AGAIN)
_WHOLE = "whole"
_STATE = re.compile(r"checkpoint-(\d+)")


def work_folder(out: Path, name: str) -> Path:
    """Where an expert's training is kept while it goes on."""
    return out / f".{name}.work"


def check_work(folder: Path, facts: Facts) -> None:
    """Raises UserError if the folder holds the training of another recipe, or something that leads elsewhere."""
    check_own_folder(folder)
    check_own_tree(folder, foreign=(WRITTEN_BY_WANDB,))
    if newest_state(folder) is None:
        return
    if found := changed_facts(STOPPED, folder, facts):
        raise UserError(
            f"{folder} holds a training that was stopped, of another recipe ({found}): undo the change to go on with "
            f"it, or {AGAIN}"
        )
    trained_by = STOPPED.read(folder).get("versions")
    if trained_by != library_versions():
        log.warning("%s was begun with other versions of the libraries (%s): the last digits may differ from those of "
                    "one sitting", folder, trained_by)  # fmt: skip


def begin_work(folder: Path, facts: Facts) -> None:
    """Makes the folder ready: facts written, states that were cut off and leftovers removed."""
    check_own_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tidy(folder, foreign=(WRITTEN_BY_WANDB,))
    write_json(folder / STOPPED.record, {"facts": facts, "versions": library_versions()})
    for state in folder.glob("checkpoint-*"):
        if not (state / _WHOLE).exists():
            shutil.rmtree(state)
    expert = folder.name.removeprefix(".").removesuffix(".work")
    for room in folder.parent.glob(".*.tmp"):  # of a process that was killed while it wrote the expert
        if (room / expert).is_dir() and not room.is_symlink():
            shutil.rmtree(room)


def mark_whole(folder: Path, step: int) -> None:
    """Says that the state after so many steps has been written to its end."""
    (folder / f"checkpoint-{step}" / _WHOLE).touch()


def newest_state(folder: Path) -> Path | None:
    """The newest whole state, or None."""
    if not folder.is_dir():
        return None
    whole = [state for state in folder.iterdir() if _STATE.fullmatch(state.name) and (state / _WHOLE).exists()]
    return max(whole, key=step_of, default=None)


def step_of(state: Path) -> int:
    """After how many steps a state was written."""
    found = _STATE.fullmatch(state.name)
    assert found is not None
    return int(found[1])
