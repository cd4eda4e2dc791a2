"""Tracking of a search by wandb, under the published program's keys. A failure never stops a search."""

import logging
import netrc
import os
import re
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from swarm.evolution.run_folder import WANDB_ID
from swarm.storage.files import read_text, write_whole

log = logging.getLogger(__name__)


class Tracker:
    """A wandb run, or none. Its first failure is logged and ends the tracking, not the search."""

    def __init__(self, mode: str, project: str, name: str, config: dict[str, Any], folder: Path):
        """Starts a wandb run in this mode (auto, online, offline, disabled); never asks for a login."""
        self._run: Any = None
        self.mode = choose_mode(mode)
        if self.mode == "disabled":
            return
        try:
            import wandb
        except ImportError:
            log.warning("wandb is not installed, so nothing is tracked there: pip install wandb, or --wandb disabled")
            self.mode = "disabled"
            return
        os.environ.setdefault("WANDB_SILENT", "true")
        self._guarded(lambda: self._start(wandb, project, name, config, folder))

    def _start(self, wandb: Any, project: str, name: str, config: dict[str, Any], folder: Path) -> None:
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", project),
            name=name,
            id=_own_id(folder),
            resume="allow",
            config=config,
            dir=str(folder),
            mode=self.mode,
            settings=wandb.Settings(init_timeout=30),
        )

    def log(self, record: dict[str, Any], step: int) -> None:
        """Logs one step's numbers."""
        if self._run is not None:
            self._guarded(lambda: self._run.log(record, step=step))

    def finish(self) -> None:
        """Finishes the wandb run."""
        if self._run is not None:
            self._guarded(lambda: self._run.finish())
            self._run = None

    def _guarded(self, act: Any) -> None:
        try:
            act()
        except Exception as error:  # whatever a tracker raises, the search goes on and says so
            log.warning("wandb failed and is switched off for this run: %s", " ".join(str(error).split())[:300])
            self._run = None


def choose_mode(mode: str) -> str:
    """online, offline or disabled; auto follows WANDB_MODE, else is online only where a login is known.

    Without a login, online becomes disabled with a warning: wandb would ask for a key and wait.
    """
    wanted = os.environ.get("WANDB_MODE", "") if mode == "auto" else mode
    if wanted in ("offline", "disabled"):
        return wanted
    if os.environ.get("WANDB_API_KEY") or _logged_in():
        return "online"
    if wanted == "online":
        log.warning("no wandb login is known, so nothing is tracked there: wandb login, or set WANDB_API_KEY")
    return "disabled"


def _logged_in() -> bool:
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _own_id(folder: Path) -> str:
    """The wandb id of a run, the same for every session, so that its curves are continued."""
    path = folder / WANDB_ID
    known = read_text(path) if path.exists() else ""
    if not re.fullmatch("[0-9a-f]{8}", known):  # it becomes part of a folder's name
        known = secrets.token_hex(4)
        write_whole(path, known)
    return known
