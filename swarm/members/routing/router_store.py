"""The store of a run's fitted routers: each under its name and digest, whole or not there, never changed."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from swarm.errors import UserError
from swarm.members.routing.interfaces import LanguageModel
from swarm.members.routing.router import Router
from swarm.members.routing.router_artefact import read_router_facts, save_router
from swarm.storage.files import check_own_folder, flush_to_disk


def _no_model() -> LanguageModel:
    raise UserError("a router that reads with the base model's states can only be fitted again where that is loaded")


class RouterStore:
    """A folder of routers: `<folder>/<name>/<digest>`.

    Attributes:
      language_model: gives what routers with features of kind hidden are fitted with.
    """

    def __init__(self, folder: Path, language_model: Callable[[], LanguageModel] = _no_model):
        self.folder, self.language_model = folder, language_model
        self._checked: set[Path] = set()

    def put(self, name: str, router: Router) -> str:
        """Writes a router, flushed to disk; returns its digest. Raises UserError if there is no room."""
        check_own_folder(self.folder)
        waiting = self.folder / f".{name}.tmp"  # by which a run tells what a killed process has left
        shutil.rmtree(waiting, ignore_errors=True)
        digest = save_router(waiting, router).digest
        target = self.folder_of(name, digest)
        check_own_folder(target.parent)
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            shutil.rmtree(waiting)
            return digest
        for written in (*waiting.rglob("*"), waiting):
            flush_to_disk(written)
        waiting.rename(target)
        for folder in (target.parent, self.folder, self.folder.parent):
            flush_to_disk(folder)
        return digest

    def folder_of(self, name: str, digest: str) -> Path:
        """The folder of a router."""
        return self.folder / name / digest

    def check(self, routers: Mapping[str, str]) -> None:
        """Raises UserError unless these routers, name -> digest, are there as they were put; looks at each once."""
        for name, digest in routers.items():
            target = self.folder_of(name, digest)
            if target in self._checked:
                continue
            if not target.is_dir() or read_router_facts(target)["digest"] != digest:
                raise UserError(f"{target} is not there, or not what the run has put there; restore it from a copy")
            self._checked.add(target)
