"""Evals that are not part of this package: a file of the user's, or an installed package with an entry point.

What such a name stands for is an `Eval` (the class or an instance), or a function `(reply, example) -> score`.
"""

import hashlib
import importlib.util
import inspect
import sys
import traceback
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from swarm.errors import UserError
from swarm.evals.eval import Eval
from swarm.evals.judges.judge import JudgeMaker, no_judge
from swarm.evals.plugin_eval import PluginEval

GROUP = "h_swarm.evals"


def is_file_name(name: str) -> bool:
    """Whether an eval's name means a file: `path/to/file.py:name`."""
    return name.partition(":")[0].endswith(".py")


def file_of(name: str) -> Path:
    """The file that an eval's name means. Raises UserError if it is not there."""
    path = Path(name.partition(":")[0])
    if not path.is_file():
        raise UserError(f"no eval file {path}: wanted path/to/file.py:name, the file and what it calls the eval")
    return path


def eval_file_digest(name: str) -> str:
    """SHA-256 of the file that an eval's name means; nothing in it is run."""
    return hashlib.sha256(file_of(name).read_bytes()).hexdigest()


def eval_from_file(name: str, judge: JudgeMaker = no_judge) -> Eval:
    """The eval that a file calls so. The file is run. `judge` is for a class whose `__init__` takes one.

    Raises UserError if there is no such file or name, or if it is no eval.
    """
    path, wanted = file_of(name), name.partition(":")[2]
    digest = eval_file_digest(name)
    module = _run(path, digest)
    there = [key for key in vars(module) if not key.startswith("_") and _is_offer(getattr(module, key), module)]
    if not wanted or not hasattr(module, wanted):
        given = f"has no {wanted!r}" if wanted else "was named without an eval in it"
        shown = ", ".join(f"-e {path}:{key}" for key in there) or "none: define one (docs/add_an_eval.md)"
        raise UserError(f"eval file {path} {given}; it offers {shown}")
    return PluginEval(f"{path.name}:{wanted}", getattr(module, wanted), digest, judge)


def installed_evals() -> dict[str, EntryPoint]:
    """Name -> entry point, of every installed package that brings evals."""
    return {point.name: point for point in entry_points(group=GROUP)}


def eval_from_package(point: EntryPoint, judge: JudgeMaker = no_judge) -> Eval:
    """The eval behind an entry point. Raises UserError if it cannot be imported or is no eval."""
    package = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown package"
    try:
        target = point.load()
    except (Exception, SystemExit) as error:
        raise UserError(
            f"eval {point.name!r} of {package} cannot be imported ({type(error).__name__}: {error}); reinstall it"
        ) from error
    return PluginEval(point.name, target, package, judge)


def _run(path: Path, digest: str) -> ModuleType:
    """The module that a file defines, under a name that no other file has."""
    spec = importlib.util.spec_from_file_location(f"h_swarm_eval_{digest[:16]}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        line = error.lineno if isinstance(error, SyntaxError) else traceback.extract_tb(error.__traceback__)[-1].lineno
        said = " ".join(str(error).split())
        raise UserError(f"eval file {path} cannot be run, line {line}: {type(error).__name__}: {said}") from error
    return module


def _is_offer(value: Any, module: ModuleType) -> bool:
    """Whether a file's name is something that it offers as an eval: not what it has imported."""
    if isinstance(value, Eval):
        return True
    own = getattr(value, "__module__", None) == module.__name__
    return own and ((inspect.isclass(value) and issubclass(value, Eval)) or inspect.isfunction(value))
