"""Heterogeneous Swarms: joint search over a graph of model roles and the weights of the models in it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from swarm import moved

if TYPE_CHECKING:
    from swarm.errors import UserError
    from swarm.programs.from_python import Result, load, resume, search
    from swarm.programs.running_system import RunningSystem

__version__ = "0.1.0"
__all__ = ["Result", "RunningSystem", "UserError", "load", "resume", "search"]

_HOMES = dict.fromkeys(("Result", "load", "resume", "search"), "swarm.programs.from_python") | {
    "RunningSystem": "swarm.programs.running_system",
    "UserError": "swarm.errors",
}

moved.install()


def __getattr__(name: str) -> Any:
    """What a user calls, imported when it is named, so that `import swarm` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
