"""Deprecated import paths of earlier versions, each of which imports the module that has its content now."""

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "swarm.blending.fuser": "swarm.members.blending.fuser",
    "swarm.blending.pair_models": "swarm.members.blending.pair_models",
    "swarm.blending.pairwise": "swarm.members.blending.pairwise",
    "swarm.engines.in_process": "swarm.engines.local.transformers_engine",
    "swarm.evals.base": "swarm.evals.eval",
    "swarm.system.messages": "swarm.system.prompts",
}
PACKAGES = {name.rpartition(".")[0] for name in MOVED} - {"swarm"}


class MovedModules(MetaPathFinder, Loader):
    """Finds the modules of `MOVED`, and the packages that they lay in, where nothing else does."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that has moved; None for any other."""
        if name not in MOVED and name not in PACKAGES:
            return None
        return ModuleSpec(name, self, is_package=name in PACKAGES)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """None: an empty module, as by default."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Registers the new module under the old name; a package that is no more stays empty."""
        name = module.__name__
        if name in MOVED:
            warnings.warn(f"{name} is {MOVED[name]} now", DeprecationWarning, stacklevel=2)
            sys.modules[name] = importlib.import_module(MOVED[name])


def install() -> None:
    """Has the import system ask `MovedModules` last."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
