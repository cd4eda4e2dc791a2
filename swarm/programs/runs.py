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
      task: its dataset and eval.
      state: complete, stopped with a result, or the step that comes next.
      dev, test: what was found, by the score that the search maximised; None where nothing has been scored.
    """

    name: str
    began: str
    task: str
    state: str
    dev: float | None
    test: float | None


def runs_program(arguments: list[str] | None = None) -> int:
    """`h-swarm runs`. Returns the exit code."""
    options = runs_parser().parse_args(arguments)
    front_doors.log_to(None)
    if not options.folder.is_dir():
        raise UserError(f"{options.folder} is no folder that is there; name the folder that holds runs")
    folders = [path.parent for path in options.folder.glob(f"*/{ARGS}")]
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
        return ListedRun(folder.name, began, "", f"cannot be read: {error}", None, None)
    task = f"{Path(str(config.get('dataset'))).stem} {config.get('eval_type')}"
    dev, test = (_mean(result, split, str(config.get("scorer"))) for split in ("dev", "test"))
    return ListedRun(folder.name, began, task, _state_of(result, state), dev, test)


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
    name, task = (
        max(len(text) for text in texts) for texts in ([one.name for one in runs], [one.task for one in runs])
    )
    lines = [f"{'run':<{name}}  {'began':<16}  {'task':<{task}}  {'dev':>5}  {'test':>5}  state"]
    for run in runs:
        dev, test = ("-" if score is None else f"{score:.3f}" for score in (run.dev, run.test))
        lines.append(f"{run.name:<{name}}  {run.began}  {run.task:<{task}}  {dev:>5}  {test:>5}  {run.state}")
    return lines
