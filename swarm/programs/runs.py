"""`h-swarm runs`: the runs in a folder, newest first."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swarm.errors import UserError
from swarm.evolution.run_folder import ARGS, RESULT, STATE, read_json
from swarm.programs import front_doors
from swarm.programs.parsers import runs_parser

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ListedRun:
    """One run in the list.

    Attributes:
      name: its folder's.
      began: when, in local time.
      dataset: its name.
      eval: the name of what scores.
      state: complete, stopped with a result, or the step that comes next.
      dev, test: what was found, by the score that the search maximised; None where nothing has been scored.
    """

    name: str
    began: str
    dataset: str
    eval: str
    state: str
    dev: float | None
    test: float | None


def runs_program(arguments: list[str] | None = None) -> int:
    """`h-swarm runs`. Returns the exit code."""
    options = runs_parser().parse_args(arguments)
    front_doors.log_to(None)
    if not options.folder.is_dir():
        raise UserError(f"{options.folder} is no folder that is there; name the folder that holds runs")
    single = (options.folder / ARGS).is_file()  # it is a run itself
    folders = [options.folder] if single else [path.parent for path in options.folder.glob(f"*/{ARGS}")]
    runs = [
        listed_run(folder) for folder in sorted(folders, key=lambda one: (one / ARGS).stat().st_mtime, reverse=True)
    ]
    for line in [json.dumps([asdict(run) for run in runs])] if options.json else table_of_runs(runs):
        log.info("%s", line)
    return front_doors.DONE


def listed_run(folder: Path) -> ListedRun:
    """A run as its folder describes it; one that cannot be read says so in place of its state."""
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime((folder / ARGS).stat().st_mtime))
    try:
        config = read_json(folder / ARGS)
        result = read_json(folder / RESULT) if (folder / RESULT).is_file() else {}
        state = read_json(folder / STATE) if (folder / STATE).is_file() else {}
    except UserError as error:
        return ListedRun(folder.name, began, "", "", f"cannot be read: {error}", None, None)
    dataset, evaluation = Path(str(config.get("dataset"))).stem, Path(str(config.get("eval_type"))).name
    dev, test = (_mean(result, split, str(config.get("scorer"))) for split in ("dev", "test"))
    return ListedRun(folder.resolve().name, began, dataset, evaluation, _state_of(result, state), dev, test)


def _mean(result: dict[str, Any], split: str, scorer: str) -> float | None:
    try:
        return float(result["scores"]["found"][split][scorer]["mean"])
    except (KeyError, TypeError, ValueError):
        return None


def _state_of(result: dict[str, Any], state: dict[str, Any]) -> str:
    if result:
        return str(result.get("stop_reason", "complete"))
    following = state.get("next_step")
    return f"can be resumed, next: {following}" if following else "can be resumed from its start"


def table_of_runs(runs: Sequence[ListedRun]) -> list[str]:
    """The runs as lines of text."""
    if not runs:
        return ["no runs here yet; h-swarm search or h-swarm demo makes one"]
    rows = [("run", "began", "dataset", "eval", "dev", "test", "state")]
    for run in runs:
        dev, test = ("-" if score is None else f"{score:.3f}" for score in (run.dev, run.test))
        rows.append((run.name, run.began, run.dataset, run.eval, dev, test, run.state))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
