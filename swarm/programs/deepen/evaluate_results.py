"""`h-swarm deepen eval`: scores of result files, the published metric beside a strict one."""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swarm.errors import UserError
from swarm.programs.deepen.published_metrics import TASKS, Scores, published_task, score
from swarm.programs.deepen.result_file import read_results
from swarm.programs.deepen.result_recipe import read_result_recipe
from swarm.programs.front_doors import DONE

log = logging.getLogger(__name__)

PATTERN = "ensemble_lr*_learning_epochs_nums*.jsonl"


@dataclass(frozen=True)
class Scored:
    """A result file and its scores."""

    path: Path
    task: str
    scores: Scores


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this step."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="result files, or folders that hold some")
    parser.add_argument("--task", help=f"{', '.join(TASKS)} (default: what the path or the data's name says)")
    parser.add_argument("--json", action="store_true", help="print one JSON list only")


def program(options: argparse.Namespace) -> int:
    """Prints the scores of every result file."""
    if options.task is not None and options.task not in TASKS:
        raise UserError(f"--task is {options.task!r}; wanted one of {', '.join(TASKS)}")
    scored = [_scored(path, options.task) for path in result_files(options.paths)]
    if options.json:
        log.info("%s", json.dumps([_plain(one) for one in scored]))
        return DONE
    for line in score_lines(scored):
        log.info("%s", line)
    return DONE


def result_files(paths: Sequence[Path]) -> list[Path]:
    """The files that are named, and those below folders; UserError for a path without any."""
    found: list[Path] = []
    for path in paths:
        files = [path] if path.is_file() else sorted(path.rglob(PATTERN))
        if not files:
            raise UserError(f"{path} holds no result file; wanted {PATTERN}, as `h-swarm deepen run` writes it")
        found += files
    return list(dict.fromkeys(found))


def score_lines(scored: Sequence[Scored]) -> list[str]:
    """The scores as a table, best strict score first within each task, and what the published metrics do wrong."""
    width = max(len(str(one.path)) for one in scored) + 2
    lines = [f"{'results':<{width}}{'task':<10}{'strict':<30}{'published':<30}fork's, or corpus".rstrip()]
    for one in sorted(scored, key=lambda one: (one.task, -one.scores.strict.mean)):
        corpus = one.scores.corpus or {}
        fork = one.scores.fork or ", ".join(f"{name} {value:.1f}" for name, value in corpus.items())
        cells = f"{one.scores.strict!s:<30}{one.scores.published!s:<30}{fork!s}"
        lines.append(f"{one.path!s:<{width}}{one.task:<10}{cells}".rstrip())
    for task, faults in {one.task: one.scores.faults for one in scored}.items():
        lines.append(f"the published metric of {task}: {'; '.join(faults)}")
    return lines


def _scored(path: Path, task: str | None) -> Scored:
    task = task or _task(path)
    try:
        records = read_results(path)
        scored = Scored(path, task, score(task, records))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    wanted = (read_result_recipe(path) or {}).get("questions", 0)
    if isinstance(wanted, int) and len(records) < wanted:
        log.warning("%s has answers to the first %d of %d questions only", path, len(records), wanted)
    return scored


def _task(path: Path) -> str:
    """What the path says, else the data that it was made from."""
    try:
        return published_task(str(path))
    except UserError:
        recipe = read_result_recipe(path) or {}
        if "data" not in recipe:
            raise
        return published_task(str(recipe["data"]))


def _plain(one: Scored) -> dict[str, Any]:
    return {"path": str(one.path), "task": one.task, **asdict(one.scores)}
