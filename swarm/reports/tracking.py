"""Tracking of a run by wandb, under the published program's keys, or by a plugin. A failure never stops the run."""

import logging
import netrc
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlparse

from swarm.errors import UserError
from swarm.evolution.run_folder import WANDB_ID
from swarm.plugins import HINT, find_plugin, in_short, names_in
from swarm.storage.files import read_text, write_whole

log = logging.getLogger(__name__)

WANDB = "wandb"
TRACKERS = (WANDB,)


@dataclass(frozen=True)
class TrackedRun:
    """The run whose numbers a tracker gets.

    Attributes:
      project: the name that runs of one kind share.
      name: the run's own.
      config: its settings.
      folder: the run's own; the same in every session of a resumed run.
    """

    project: str
    name: str
    config: dict[str, Any]
    folder: Path


class Tracker(Protocol):
    """Where a run's numbers go."""

    def log(self, record: dict[str, Any], step: int) -> None:
        """Logs one step's numbers, by name."""

    def finish(self) -> None:
        """Ends the tracking of this session."""


class Guarded:
    """A tracker whose first failure is logged and ends the tracking, not the run.

    Attributes:
      name: the tracker's, for messages.
      tracker: the tracker that is guarded; None without one, and after a failure.
    """

    def __init__(self, name: str, make: Callable[[], Tracker | None]):
        """Makes the tracker."""
        self.name = name
        self.tracker: Tracker | None = None
        self._guarded(lambda: self._begin(make))

    def log(self, record: dict[str, Any], step: int) -> None:
        """Logs one step's numbers."""
        tracker = self.tracker
        if tracker is not None:
            self._guarded(lambda: tracker.log(record, step))

    def send_answers(self, path: Path) -> None:
        """Sends the file of answers, to a tracker that takes it."""
        send = getattr(self.tracker, "send_answers", None)
        if send is not None:
            self._guarded(lambda: send(path))
        elif self.tracker is not None:
            log.warning("%s takes no answers: --with_answers is without effect", self.name)

    def finish(self) -> None:
        """Ends the tracking of this session."""
        tracker = self.tracker
        if tracker is not None:
            self._guarded(tracker.finish)
            self.tracker = None

    def _begin(self, make: Callable[[], Tracker | None]) -> None:
        self.tracker = make()

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except (Exception, SystemExit) as error:  # whatever a tracker raises, the search goes on and says so
            log.warning("%s failed and is switched off for this run: %s", self.name, in_short(error)[:300])
            self.tracker = None


class Wandb:
    """A wandb run."""

    def __init__(self, wandb: Any, mode: str, run: TrackedRun):
        """Starts the run, online or offline, or continues that of an earlier session; never asks for a login."""
        os.environ.setdefault("WANDB_SILENT", "true")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", run.project),
            name=run.name,
            id=_own_id(run.folder),
            resume="allow",
            config=run.config,
            dir=str(run.folder),
            mode=mode,
            settings=wandb.Settings(init_timeout=30),
        )

    def log(self, record: dict[str, Any], step: int) -> None:
        """Logs one step's numbers."""
        self._run.log(record, step=step)

    def send_answers(self, path: Path) -> None:
        """Uploads the file of answers as an artifact of the run."""
        self._run.log_artifact(str(path), name=f"answers-{self._run.id}", type="answers")

    def finish(self) -> None:
        """Ends the tracking of this session."""
        self._run.finish()


def make_tracker(name: str, mode: str, run: TrackedRun) -> Guarded:
    """The tracker of this name for a run: wandb, or a plugin's. `mode` is wandb's: auto, online, offline, disabled.

    Raises UserError as `check_tracker` does; what fails later is logged only.
    """
    make = _plugin_maker(name)
    if make is not None:
        return Guarded(name, lambda: make(run))
    return Guarded(WANDB, lambda: _wandb(choose_mode(mode), run))


def check_tracker(name: str) -> None:
    """Raises UserError if there is no such tracker, or it cannot be imported; nothing is started."""
    _plugin_maker(name)


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


def _plugin_maker(name: str) -> Callable[[TrackedRun], Tracker] | None:
    """What makes a plugin's tracker; None for wandb."""
    if plugin := find_plugin("trackers", name, TRACKERS):
        made = plugin.load()
        if not callable(made):
            raise UserError(
                f"tracker {name!r} of {plugin.source} is {type(made).__name__}; wanted a class or function that is "
                "called with the run (docs/extend.md)"
            )
        maker: Callable[[TrackedRun], Tracker] = made
        return maker
    if name not in TRACKERS:
        raise UserError(f"--tracker is {name!r}; wanted one of: {', '.join(names_in('trackers', TRACKERS))}; {HINT}")
    return None


def _wandb(mode: str, run: TrackedRun) -> Wandb | None:
    if mode == "disabled":
        return None
    try:
        import wandb
    except ImportError:
        log.warning("wandb is not installed, so nothing is tracked there: pip install wandb, or --wandb disabled")
        return None
    return Wandb(wandb, mode, run)


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
