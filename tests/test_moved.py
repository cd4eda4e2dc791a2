"""Import paths that README and docs have shown before stay, with a deprecation that names the new one."""

import importlib
import sys

import pytest

from swarm.moved import MOVED

# as README.md, docs/add_an_eval.md and docs/routing.md showed them before the package had rooms
SHOWN = """
from swarm.engines.in_process import InProcessEngine
from swarm.maths.decode import decode
from swarm.system.execute import answer
from swarm.system.system import System
import swarm.maths.pso
import swarm.maths.credit
from swarm.engines.base import GenerationParams
from swarm.errors import UserError
from swarm.evals.base import Eval
from swarm.evals.base import Dataset, Example, Judging
from swarm.system.messages import Query
from swarm.blending.fuser import load_fuser
from swarm.blending.pair_models import load_pair_model
from swarm.blending.pairwise import best_first
"""


# the libraries stay, the package is loaded anew
FIRST = """
import sys, warnings
warnings.simplefilter("always")
for name in [name for name in sys.modules if name.partition(".")[0] == "swarm"]:
    del sys.modules[name]
"""


def test_what_was_shown_can_still_be_imported(programs, tmp_path):
    done = programs.python("-c", FIRST + SHOWN, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "DeprecationWarning" in line]
    assert len(told) == len(MOVED)
    for old, new in MOVED.items():
        assert any(line.endswith(f"DeprecationWarning: {old} is {new} now") for line in told), old


@pytest.mark.parametrize("old", MOVED)
def test_the_old_path_gives_the_very_module(old, monkeypatch):
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{old} is {MOVED[old]} now"):
        found = importlib.import_module(old)
    assert found is importlib.import_module(MOVED[old]) and found.__name__ == MOVED[old] == found.__spec__.name


def test_what_never_was_there_is_not_found():
    for name in ("swarm.blending.nothing", "swarm.nothing", "swarm.evals.nothing"):
        with pytest.raises(ModuleNotFoundError, match=name):
            importlib.import_module(name)
