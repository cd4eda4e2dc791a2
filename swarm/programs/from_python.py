"""`swarm.search` and `swarm.load`: what the commands do, from Python."""

import html
import json
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from swarm.errors import UserError
from swarm.evolution.checked_config import make_config
from swarm.evolution.command_line import MODES
from swarm.evolution.run_folder import METRICS, RESULT
from swarm.maths.interval import Estimate
from swarm.plugins import use_plugin_files
from swarm.programs import front_doors
from swarm.programs.found_system import read_found
from swarm.programs.running_system import RunningSystem
from swarm.reports.finished_run import FinishedRun, read_as_written, read_run
from swarm.reports.report import score_table
from swarm.storage.files import read_text

_searching = Lock()


class Result:
    """What a search has found; it reads the run's folder, so that it can be made of any run.

    Attributes:
      folder: the run's.
    """

    def __init__(self, folder: str | Path):
        """Raises UserError if the folder is no run."""
        self.folder = Path(folder)
        self._run = read_run(self.folder)
        self._best: RunningSystem | None = None

    @property
    def best(self) -> RunningSystem:
        """The found system, which answers. Raises UserError where there is none yet."""
        if self._best is None:
            self._best = load(self.folder)
        return self._best

    @property
    def state(self) -> str:
        """Why the search has ended, or the step that comes next."""
        return self._run.state

    @property
    def history(self) -> list[dict[str, Any]]:
        """The numbers of every step: utilities of graphs and experts, requests, usage, under the names of a tracker."""
        path = self.folder / METRICS
        lines = read_text(path).splitlines() if path.is_file() else []
        return [record for line in lines if (record := _record(line)) is not None]

    def table(self) -> list[dict[str, Any]]:
        """The final scores: a row for each who, split and scorer; empty while there are none."""
        rows = []
        with read_as_written(self.folder / RESULT):
            for who, splits in self._run.result.get("scores", {}).items():
                for split in ("dev", "test"):
                    for scorer, estimate in splits.get(split, {}).items():
                        rows.append({"who": who, "split": split, "scorer": scorer, **estimate})
        return rows

    def score(self, split: str = "test", who: str = "found", scorer: str = "") -> Estimate:
        """One of the final scores; `scorer` is the one that was maximised. Raises UserError where it is not there."""
        found = self._run.estimate(split, who, scorer)
        if found is None:
            raise UserError(f"{self.folder} has no score of {who} on {split} by {scorer or self._run.scorer}")
        return found

    def __repr__(self) -> str:
        return "\n".join([f"{self.folder}: {self._run.eval} on {self._run.dataset}; {self.state}", *_lines(self._run)])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


def _record(line: str) -> dict[str, Any] | None:
    """A line of metrics.jsonl; None for half a line, which a kill has left."""
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError):
        return None


def _lines(run: FinishedRun) -> list[str]:
    with read_as_written(run.folder / RESULT):
        return [*run.result["graph"], *score_table(run.result["scores"], run.scorer)] if run.result else []


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Raises UserError where another thread of this process searches: models, signals and logging are its own."""
    if not _searching.acquire(blocking=False):
        raise UserError("another search is running in this process: wait for it, or start a process of its own")
    try:
        yield
    finally:
        _searching.release()


def search(*, quiet: bool = False, **settings: Any) -> Result:
    """Searches as `h-swarm search` does, and returns what was found; the run is kept in search/ of the current folder.

    Args:
      quiet: print warnings only, no progress.
      settings: by the options' names: eval_type, dataset, initial_expert_directory, seed, max_iteration ...

    Raises UserError for a setting that cannot be, or whatever else a user can mend; KeyboardInterrupt where it was
    interrupted, after which `resume` goes on.
    """
    from swarm.programs.search import begin, tell_optimizer

    began, config = time.monotonic(), make_config(settings)
    with _one_at_a_time(), front_doors.logging_restored(quiet):
        front_doors.log_to(None)
        tell_optimizer(settings, config)
        return _result(*begin(config, Namespace(**MODES), began))


def resume(run: str | Path, *, quiet: bool = False, **settings: Any) -> Result:
    """Goes on with a run, as `h-swarm search --resume` does; raises as `search`."""
    from swarm.programs.search import go_on

    with _one_at_a_time(), front_doors.logging_restored(quiet):
        front_doors.log_to(None)
        return _result(*go_on(Path(run), settings, time.monotonic()))


def load(folder: str | Path, **settings: Any) -> RunningSystem:
    """The found system of a run, or in a system's own folder; nothing is loaded before it is asked.

    Args:
      settings: by the options' names: max_new_tokens, chat, gpus, base_model ...

    Raises UserError if there is none, or it cannot be read.
    """
    if settings.get("plugin"):
        use_plugin_files(settings["plugin"])
    return RunningSystem(read_found(Path(folder), settings, scored=False))


def _result(code: int, folder: Path | None) -> Result:
    if code == front_doors.INTERRUPTED:
        raise KeyboardInterrupt
    if folder is None:
        raise UserError("nothing was begun")
    return Result(folder)
