"""The optimizers of candidates by name, and those of plugins."""

from collections.abc import Callable
from typing import Any

from swarm.errors import UserError
from swarm.evolution.config import SearchConfig
from swarm.evolution.names import OWN_OPTIMIZERS
from swarm.evolution.optimizers.evolution import Evolution
from swarm.evolution.optimizers.interface import Optimizer
from swarm.evolution.optimizers.local_swarm import LocalSwarm
from swarm.evolution.optimizers.random_draws import RandomDraws
from swarm.evolution.optimizers.watched import Watched
from swarm.plugins import HINT, Plugin, faults_named, find_plugin, names_in

_METHODS = ("start", "propose", "learn", "bar")


def _cma(config: SearchConfig) -> Optimizer:
    from swarm.evolution.optimizers.cma import Cma  # brings a library that nothing else needs

    return Cma.of(config)


OPTIMIZERS: dict[str, Callable[[SearchConfig], Optimizer]] = {
    "evolution": Evolution.of,
    "swarm-local": LocalSwarm.of,
    "cmaes": _cma,
    "random": RandomDraws.of,
}


def make_optimizer(config: SearchConfig) -> Watched:
    """The optimizer that the settings name. Raises UserError as `check_optimizer` does, and if a plugin's fails."""
    plugin, name = check_optimizer(config.optimizer), config.optimizer
    if plugin is None:
        return Watched(name, OPTIMIZERS[name](config))
    made = plugin.load()
    with faults_named(f"optimizer {name}", made):
        optimizer = made(config) if callable(made) else made
    if missing := [method for method in _METHODS if not callable(getattr(optimizer, method, None))]:
        raise UserError(
            f"optimizer {name!r} of {plugin.source} gives {type(optimizer).__name__}, which has no {missing[0]}; "
            f"wanted {', '.join(_METHODS)} (docs/extend.md)"
        )
    return Watched(name, optimizer)


def check_optimizer(name: str) -> Plugin | None:
    """The plugin of this name; None for an optimizer of our own. Raises UserError where there is none."""
    plugin = find_plugin("optimizers", name, OWN_OPTIMIZERS)
    if plugin is None and name not in OWN_OPTIMIZERS:
        there = ", ".join(names_in("optimizers", OWN_OPTIMIZERS))
        raise UserError(f"--optimizer is {name!r}; wanted one of: {there}; {HINT}")
    return plugin


def code_of(name: str) -> Any:
    """By what a plugin's code is known; "" for an optimizer of our own."""
    plugin = check_optimizer(name)
    return "" if plugin is None else plugin.code
