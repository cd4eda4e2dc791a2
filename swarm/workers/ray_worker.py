"""The Ray actor: checks its machine, makes an engine there, answers batches."""

import logging
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import swarm
from swarm.engines.base import Engine
from swarm.errors import UserError
from swarm.members.members import Members
from swarm.plugins import is_ours
from swarm.weights.adapters import CONFIG, WEIGHTS
from swarm.weights.base_model import model_files
from swarm.workers.import_path import leave_script_folder
from swarm.workers.machine import Model, check_memory, check_packages, model_folders, models_of, package_versions
from swarm.workers.sent_folders import SentFolder, describe_folder, folder_here, keep
from swarm.workers.serving import Server, failure
from swarm.workers.transport import Answered, Failed, Ready
from swarm.workers.wire_format import WireBatch, WireFormat


@dataclass(frozen=True)
class WorkerSetup:
    """The setup that all workers share.

    Attributes:
      members: that they answer for; `folders` are those that these read, as the head has them.
      models: that every machine must have.
      packages: versions that every machine must have.
      make: makes an engine for members on a device.
      device: cuda or cpu; on that with so many `threads`.
      number_format: of the models, None for the engine's choice.
      with_code: whether code that comes with a model is run.
    """

    members: Members
    folders: Mapping[Path, SentFolder]
    models: tuple[Model, ...]
    packages: Mapping[str, str]
    make: Callable[[Members, str], Engine]
    device: str
    threads: int
    number_format: str | None
    with_code: bool


def setup(
    members: Members,
    make: Callable[[Members, str], Engine],
    device: str,
    threads: int = 1,
    number_format: str | None = None,
    with_code: bool = False,
) -> WorkerSetup:
    """The setup of workers that answer for these members; reads the files that have to be sent."""
    for composite in members.composites:
        if not is_ours(composite):
            raise UserError(
                f"composite {composite.name} is a plugin's ({type(composite).__module__}), which the machines of a Ray "
                "cluster need not have: use workers of this machine, or a pool without it"
            )
    pool = members.pool
    folders = {adapter.folder: [adapter.folder / CONFIG, adapter.folder / WEIGHTS] for adapter in pool.adapters}
    folders |= {model.folder: model_files(model.folder, with_code) for model in pool.models}
    described = {folder: describe_folder(folder, folders.get(folder)) for folder in members.reads}
    models = models_of(members, with_code)
    return WorkerSetup(members, described, models, package_versions(), make, device, threads, number_format, with_code)


class RayWorker:
    """The Ray actor: an engine on some machine of a cluster. Errors are returned as events, not raised."""

    def __init__(self, number: int):
        _keep_own_programs_off_the_path()
        logging.getLogger("swarm").setLevel(logging.INFO)
        self._number = number
        self._folders: dict[Path, Path] = {}
        self._server: Server | None = None

    def look(self, setup: WorkerSetup) -> list[SentFolder] | Failed:
        """Checks the machine; returns the folders that have to be sent to it."""
        self._setup = setup
        if setup.device == "cpu":
            torch.set_num_threads(setup.threads)
        try:
            check_packages(setup.packages)
            folders = model_folders(setup.models, setup.with_code)
            check_memory(folders, setup.device, setup.number_format)
            found = {own: folder_here(folder) for own, folder in setup.folders.items()}
        except Exception as error:
            return self._unfit(error)
        self._folders = {own: folder for own, folder in found.items() if folder is not None}
        return [folder for own, folder in setup.folders.items() if found[own] is None]

    def load(self, sent: Sequence[tuple[SentFolder, Sequence[Any]]]) -> Ready | Failed:
        """Writes the folders that were sent, as references to their pieces, and makes the engine."""
        try:
            kept = {folder.digest: keep(folder, partial(_piece, references)) for folder, references in sent}
            for own, folder in self._setup.folders.items():
                self._folders.setdefault(own, kept.get(folder.digest, own))
            members = self._setup.members.read_from(self._folders)
            self._wire_format = WireFormat(members)
            self._server = Server(self._number, partial(self._setup.make, members, self._setup.device))
            return self._server.ready()
        except Exception as error:
            return self._unfit(error)

    def answers(self, batch: int, wire: WireBatch) -> Iterator[Answered | Failed]:
        """Yields a batch's answers as they are finished."""
        assert self._server is not None
        try:
            requests = self._wire_format.unpack(wire)
        except Exception as error:
            yield failure(self._number, error)
            return
        yield from self._server.answers(batch, requests)

    def _unfit(self, error: Exception) -> Failed:
        """The event that this machine cannot be used; an error that a person can cure names the machine."""
        failed = failure(self._number, error)
        return replace(failed, message=f"node {platform.node()}: {failed.message}") if failed.cure else failed


def _piece(references: Sequence[Any], number: int) -> np.ndarray:
    """One piece of what was sent; mapped from the machine's store, not copied."""
    import ray

    content: np.ndarray = ray.get(references[number])
    return content


def _keep_own_programs_off_the_path() -> None:
    """Ray puts the head's working folder there, and a library's `import evaluate` would find our evaluate.py in it."""
    root = Path(swarm.__file__).resolve().parents[1]
    if (root / "evaluate.py").is_file():
        leave_script_folder(os.fspath(root / "evaluate.py"))
