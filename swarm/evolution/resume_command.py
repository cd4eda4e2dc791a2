"""The command that goes on with a run, as messages print it."""

import shlex
import sys
from pathlib import Path

from swarm.errors import UserError
from swarm.evals import eval_names
from swarm.evals.own_evals import is_file_name
from swarm.evolution.config import SearchConfig
from swarm.evolution.origins import from_anywhere


def name_taken(folder: Path) -> UserError:
    """The error message for a run name that exists."""
    return UserError(f"{folder} exists; wanted a new name (-n), or go on: {resume_command(folder)}")


def resume_command(folder: Path, config: SearchConfig | None = None) -> str:
    """The command that resumes a run, from whatever folder it is typed in; the `config`'s own code is named in it."""
    door, typed = Path(__file__).resolve().parents[2] / "search.py", Path(sys.argv[0])
    if typed.name == "h-swarm" and typed.is_absolute():
        program = [str(typed), "search"]
    else:
        program = [sys.executable, *([str(door)] if door.is_file() else ["-m", "swarm", "search"])]
    code: list[str] = []
    if config is not None:
        own = from_anywhere(config)
        code += ["-e", str(own.eval_type)] if any(map(is_file_name, eval_names(str(own.eval_type)))) else []
        code += ["--plugin", own.plugin] if own.plugin else []
    return shlex.join([*program, "--resume", str(folder.resolve()), *code])
