"""What the pure functions need beside Python: numpy, and what the page on the package names with a module."""

import ast
import re
import subprocess
import sys

from repository import ROOT

PAGE = (ROOT / "swarm" / "README.md").read_text(encoding="utf8").split("In `maths/`, ")[1].split("numpy alone.")[0]
NAMED = {
    name: {library}
    for names, library in re.findall(r"((?:`\w+\.py`[\s,and]*)+)\s+needs? (networkx|torch)", PAGE)
    for name in re.findall(r"`(\w+)\.py`", names)
}
OURS = {"swarm"}


def needed(path):
    """The libraries that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - OURS


def test_each_module_needs_what_the_page_says():
    modules = {path.stem: path for path in (ROOT / "swarm" / "maths").glob("*.py") if path.stem != "__init__"}
    assert NAMED.keys() < modules.keys() and {"torch"} in NAMED.values() and {"networkx"} in NAMED.values()
    for name, path in modules.items():
        assert needed(path) - {"numpy"} == NAMED.get(name, set()), name


def test_those_of_arrays_come_without_torch():
    """Nothing that they import brings it along."""
    modules = [path.stem for path in (ROOT / "swarm" / "maths").glob("*.py")]
    plain = [f"swarm.maths.{name}" for name in modules if "torch" not in NAMED.get(name, set())]
    code = f"import sys, importlib; [importlib.import_module(name) for name in {plain}]; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
