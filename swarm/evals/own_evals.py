"""Evals that are not part of this package: in a file of the user's, registered by one, or brought by a package.

What such a name stands for is an `Eval` (the class or an instance), or a function `(reply, example) -> score`.
"""

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

from swarm.errors import UserError
from swarm.evals.eval import Eval
from swarm.evals.judges.judge import JudgeMaker, no_judge
from swarm.evals.plugin_eval import PluginEval
from swarm.plugins import PluginFile, read_plugin_file


def is_file_name(name: str) -> bool:
    """Whether an eval's name means a file: `path/to/file.py:name`."""
    return name.partition(":")[0].endswith(".py")


def file_of(name: str) -> Path:
    """The file that an eval's name means. Raises UserError if it is not there."""
    return _read(name).path


def eval_file_digest(name: str) -> str:
    """SHA-256 of the file that an eval's name means; nothing in it is run."""
    return _read(name).digest


def eval_from_file(name: str, judge: JudgeMaker = no_judge) -> Eval:
    """The eval of that name in a file, which is run. `judge` is for a class whose `__init__` takes one.

    Raises UserError if there is no such file or name, or if it is no eval.
    """
    given, _, wanted = name.partition(":")
    file = _read(name)
    module = file.run("eval file")
    there = [key for key in vars(module) if not key.startswith("_") and _is_offer(getattr(module, key), module)]
    if not wanted or not hasattr(module, wanted):
        lacks = f"has no {wanted!r}" if wanted else "was named without an eval in it"
        shown = ", ".join(f"-e {given}:{key}" for key in there) or "none: define one (docs/add_an_eval.md)"
        raise UserError(f"eval file {given} {lacks}; it offers {shown}")
    return PluginEval(f"{file.path.name}:{wanted}", getattr(module, wanted), file.digest, judge)


def _read(name: str) -> PluginFile:
    return read_plugin_file(name.partition(":")[0], "eval file", "path/to/file.py:name, the file and its eval's name")


def _is_offer(value: Any, module: ModuleType) -> bool:
    """Whether a file's name is something that it offers as an eval: not what it has imported."""
    if isinstance(value, Eval):
        return True
    own = getattr(value, "__module__", None) == module.__name__
    return own and ((inspect.isclass(value) and issubclass(value, Eval)) or inspect.isfunction(value))
