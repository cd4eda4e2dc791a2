"""The environment of a program: logging, signals, errors and exit codes."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock, current_thread, main_thread
from typing import Any

from tqdm import tqdm

from swarm.data.embedded import embedded_experts
from swarm.errors import BudgetReached, UserError
from swarm.storage.files import open_own
from swarm.text.visible import visible, visible_line

DONE, BAD_INPUT, LIMIT_REACHED, INTERRUPTED = 0, 2, 3, 130
PUBLISHED_EXPERTS = Path("initial_experts")


def guarded(program: Callable[[], int]) -> int:
    """Runs a program and returns its exit code: 2 for a UserError, shown as one line, 130 for an interruption."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return program()
    except UserError as error:
        print(visible_line(f"error: {error}"), file=sys.stderr)
        return BAD_INPUT
    except BudgetReached as reached:
        print(visible_line(f"error: {reached}; nothing was scored: give more"), file=sys.stderr)
        return LIMIT_REACHED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


@contextmanager
def signals_wait() -> Iterator[None]:
    """Ctrl-C and SIGTERM take effect after this block, so that what is being written is finished."""
    if current_thread() is not main_thread():  # to which signals come
        yield
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, frame: came.append(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


_quiet = False


@contextmanager
def logging_restored(quiet: bool = False) -> Iterator[None]:
    """Our logging is after this block as it was before; in it `log_to` sets it up, `quiet`: with warnings only."""
    global _quiet
    ours, before = logging.getLogger("swarm"), _quiet
    handlers, level, propagate = ours.handlers[:], ours.level, ours.propagate
    _quiet = quiet
    try:
        yield
    finally:
        _quiet = before
        ours.handlers, ours.propagate = handlers, propagate
        ours.setLevel(level)


def shows_progress() -> bool:
    """Whether somebody watches a terminal, and has not asked for quiet."""
    return sys.stderr.isatty() and not _quiet


class _Visible(logging.Formatter):
    """Names and texts from elsewhere command no terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class _LogFile(logging.FileHandler):
    """A file that is written to only if it is an ordinary one: a run's folder may come from anybody."""

    def _open(self) -> Any:
        return open_own(Path(self.baseFilename), "a")


class _Screen(logging.StreamHandler):  # type: ignore[type-arg]
    """A log handler for the terminal; a broken pipe (`| head`) does not end the search.

    A progress bar there makes way for the message.
    """

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(self.stream):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
        else:
            super().handleError(record)


def log_to(path: Path | None) -> None:
    """Sets up logging: messages to the terminal, warnings to stderr, and all of them to the file if one is given."""
    tqdm.set_lock(RLock())  # threads draw bars here, processes do not: its own lock would be shared by both
    ours = logging.getLogger("swarm")
    ours.setLevel(logging.INFO)
    ours.propagate = False
    screen, alarms = _Screen(sys.stdout), _Screen(sys.stderr)
    screen.addFilter(lambda record: record.levelno < logging.WARNING and not hasattr(record, "file_only"))
    alarms.setLevel(logging.WARNING)
    screen.setFormatter(_Visible("%(message)s"))
    alarms.setFormatter(_Visible("warning: %(message)s"))
    handlers: list[logging.Handler] = [alarms] if _quiet else [screen, alarms]
    if path is not None:
        handlers.append(_LogFile(path))
        handlers[-1].setFormatter(_Visible("%(asctime)s %(levelname)s %(message)s"))
    kept = [handler for handler in ours.handlers if not isinstance(handler, _Screen | _LogFile)]  # somebody else's
    for old in ours.handlers:
        if old not in kept:
            old.close()
    ours.handlers = [*handlers, *kept]


def expert_directory(given: str | None) -> tuple[Path, str]:
    """The experts' folder, and a line that names it: the given one, the published ones, else the embedded ones."""
    from swarm.weights.pool import expert_folders  # brings torch, which help has no need of

    if given is not None:
        return Path(given), f"experts: {given}"
    if expert_folders(PUBLISHED_EXPERTS):
        return PUBLISHED_EXPERTS, f"experts: {PUBLISHED_EXPERTS}"
    embedded = embedded_experts()
    if embedded is not None:
        return embedded, (
            f"experts: {embedded}, six toy models of 0.2 M parameters that know graph tasks only, because "
            f"{PUBLISHED_EXPERTS} is empty. For the ten published Gemma-7B experts: python "
            "initial_experts/initial_experts.py; for your own: -i FOLDER"
        )
    return PUBLISHED_EXPERTS, f"experts: {PUBLISHED_EXPERTS}"
