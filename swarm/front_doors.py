"""What search.py and evaluate.py call: their surroundings, from logging to exit codes."""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from swarm.errors import BudgetReached, UserError
from swarm.search.config import SearchConfig
from swarm.weights.pool import expert_folders

DONE, BAD_INPUT, LIMIT_REACHED, INTERRUPTED = 0, 2, 3, 130
PUBLISHED_EXPERTS = Path("initial_experts")
EMBEDDED_EXPERTS = Path("data/embedded/experts")


def guarded(program: Callable[[], int]) -> int:
    """Runs a program: what the user can cure becomes one line and exit code 2, an interruption 130."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return program()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except BudgetReached as reached:
        print(f"error: {reached}; nothing was scored: give more", file=sys.stderr)
        return LIMIT_REACHED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


@contextmanager
def signals_wait() -> Iterator[None]:
    """Ctrl-C and SIGTERM take effect after this block, so that what is being written is finished."""
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


class _Screen(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the terminal; when whoever reads it has gone (`| head`), the search goes on without."""

    def handleError(self, record: logging.LogRecord) -> None:
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
        else:
            super().handleError(record)


def log_to(path: Path | None) -> None:
    """Our messages go to the terminal, warnings to its error stream, and all of them to the file if one is given."""
    ours = logging.getLogger("swarm")
    ours.setLevel(logging.INFO)
    ours.propagate = False
    screen, alarms = _Screen(sys.stdout), _Screen(sys.stderr)
    screen.addFilter(lambda record: record.levelno < logging.WARNING)
    alarms.setLevel(logging.WARNING)
    alarms.setFormatter(logging.Formatter("warning: %(message)s"))
    handlers: list[logging.Handler] = [screen, alarms]
    if path is not None:
        handlers.append(logging.FileHandler(path, encoding="utf8"))
        handlers[-1].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for old in ours.handlers[:]:
        old.close()
    ours.handlers = handlers


def quieten_libraries() -> None:
    """No progress bars of libraries where nobody watches, and no warnings about what we do on purpose."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    # the base is named relative to the adapter, which PEFT does not know, and half precision is asked for
    for message in ("Could not find a config file in", "The PEFT config's `base_model_name_or_path` was renamed"):
        warnings.filterwarnings("ignore", message=message)
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def this_python() -> str:
    """How to call the running Python again, as short as it can be said."""
    try:
        return str(Path(sys.executable).relative_to(Path.cwd()))
    except ValueError:
        return sys.executable


def expert_directory(given: str | None) -> tuple[Path, str]:
    """Where the experts are, and a line that says so: the given folder, the published ones, else the embedded ones."""
    if given is not None:
        return Path(given), f"experts: {given}"
    if expert_folders(PUBLISHED_EXPERTS):
        return PUBLISHED_EXPERTS, f"experts: {PUBLISHED_EXPERTS}"
    if expert_folders(EMBEDDED_EXPERTS):
        return EMBEDDED_EXPERTS, (
            f"experts: {EMBEDDED_EXPERTS}, six toy models of 0.2 M parameters that know graph tasks only, because "
            f"{PUBLISHED_EXPERTS} is empty. For the ten published Gemma-7B experts: python "
            "initial_experts/initial_experts.py; for your own: -i FOLDER"
        )
    return PUBLISHED_EXPERTS, f"experts: {PUBLISHED_EXPERTS}"


def device_of(gpus: str | None) -> str | None:
    """The torch device for -g; None leaves the choice to the engine.

    Raises UserError for ids that are no numbers or that this machine does not have.
    """
    if gpus is None:
        return None
    import torch

    ids = [part.strip() for part in gpus.split(",")]
    if not all(part.isdecimal() for part in ids):
        raise UserError(f"--gpus is {gpus!r}; wanted CUDA device ids such as 0")
    there = torch.cuda.device_count()
    for part in ids:
        if int(part) >= there:
            have = f"this machine has ids 0 to {there - 1}" if there else "this machine has no CUDA device"
            raise UserError(f"--gpus names device {part}, but {have}; leave out -g to use what there is")
    if len(ids) > 1:
        logging.getLogger("swarm").warning("this version uses one device: %s of %s", ids[0], gpus)
    return f"cuda:{int(ids[0])}"


def make_engine(pool: Any, config: SearchConfig) -> Any:
    """The engine that the settings ask for."""
    quieten_libraries()
    from swarm.engines.in_process import InProcessEngine

    return InProcessEngine(pool, device_of(config.gpus), config.dtype, config.token_budget, config.trust_remote_code)
