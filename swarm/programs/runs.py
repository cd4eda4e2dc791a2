"""`h-swarm runs`: the runs in a folder, newest first; `h-swarm runs rm`: removes some."""

import json
import logging
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from swarm.errors import UserError
from swarm.evolution.run_folder import ARGS
from swarm.maths.interval import Estimate
from swarm.programs import front_doors
from swarm.programs.parsers import REMOVE, RUNS, remove_parser, runs_parser
from swarm.reports.by_column import aligned
from swarm.reports.finished_run import read_run
from swarm.storage.files import check_own_file, open_lock, take_lock

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
      calls: answers that single models generated for it; None where that is not known.
    """

    name: str
    began: str
    dataset: str
    eval: str
    state: str
    dev: Estimate | None
    test: Estimate | None
    calls: int | None


def runs_program(arguments: list[str] | None = None) -> int:
    """`h-swarm runs`. Returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == [REMOVE]:
        return remove_program(words[1:])
    options = runs_parser().parse_args(words)
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
        run = read_run(folder)
    except UserError as error:
        return ListedRun(folder.name, began, "", "", f"cannot be read: {error}", None, None, None)
    dev, test = (run.estimate(split) for split in ("dev", "test"))
    return ListedRun(run.name, began, run.dataset, run.eval, run.state, dev, test, run.calls)


def table_of_runs(runs: Sequence[ListedRun]) -> list[str]:
    """The runs as lines of text."""
    if not runs:
        return ["no runs here yet; h-swarm search or h-swarm demo makes one"]
    rows: list[tuple[str, ...]] = [("run", "began", "dataset", "eval", "dev", "test", "calls", "state")]
    for run in runs:
        dev = "-" if run.dev is None else f"{run.dev.mean:.3f}"
        calls = "-" if run.calls is None else f"{run.calls:,}"
        rows.append((run.name, run.began, run.dataset, run.eval, dev, str(run.test or "-"), calls, run.state))
    return aligned(rows)


def remove_program(arguments: list[str]) -> int:
    """`h-swarm runs rm`. Returns the exit code."""
    options = remove_parser().parse_args(arguments)
    front_doors.log_to(None)
    folders = [_removable(name.removeprefix(f"{RUNS}/").rstrip("/")) for name in dict.fromkeys(options.names)]
    for folder in folders:
        run = listed_run(folder)
        size = sum(path.lstat().st_size for path in folder.rglob("*"))
        log.info("%s  %s, %s, %.1f MB: %s", folder, run.dataset, run.eval, size / 1e6, run.test or run.state)
    if not options.yes and not _agreed(len(folders)):
        log.info("nothing was removed")
        return front_doors.DONE
    with ExitStack() as stack:
        for folder in folders:  # all of them are nobody's, or none is removed
            lock = stack.enter_context(open_lock(folder / "lock"))
            take_lock(lock, f"{folder} is in use by another process; wait for it or stop it")
        for folder in folders:
            _remove(folder)
    log.info("removed %d", len(folders))
    return front_doors.DONE


def _removable(name: str) -> Path:
    """The run of this name. Raises UserError for anything else, and for a link to one."""
    folder = RUNS / name
    if Path(name).name != name or name in (".", ".."):
        raise UserError(f"{name!r} is no run's name; wanted names below {RUNS}, such as h-swarm runs lists")
    if RUNS.is_symlink() or folder.is_symlink():
        raise UserError(f"{RUNS if RUNS.is_symlink() else folder} is a link; remove by hand what is behind it")
    if not (folder / ARGS).is_file():
        raise UserError(f"{folder} is no run ({ARGS} missing); wanted names such as h-swarm runs lists")
    check_own_file(folder / "lock")
    return folder


def _agreed(count: int) -> bool:
    """Whether the user agrees. Raises UserError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise UserError("nobody can be asked here: add --yes to remove what is listed")
    try:
        said = input(f"remove {'this run' if count == 1 else f'these {count} runs'} for good? [y/N] ")
    except EOFError:
        return False
    return said.strip().lower() in ("y", "yes")


def _remove(folder: Path) -> None:
    """Removes a run that nobody works on; what a kill leaves of it is hidden, and its name is free."""
    try:
        gone = folder.rename(folder.parent / f".{secrets.token_hex(8)}.tmp")
        shutil.rmtree(gone)
    except OSError as error:
        raise UserError(f"{folder} cannot be removed ({error.strerror}); see that you may write there") from error
