"""What the pure functions need beside Python: numpy, and what the README names with a module."""

import ast
import re
import subprocess
import sys

from repository import ROOT

TREE = (ROOT / "README.md").read_text(encoding="utf8").split("    swarm/maths/ ")[1].split("    swarm/weights/ ")[0]
ABOUT, *LINES = TREE.splitlines()
NAMED = {re.match(r"\s+(\w+)\.py", line)[1]: set(re.findall(r"\((torch|networkx)\)$", line)) for line in LINES if line}
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


def test_each_module_needs_what_the_readme_says():
    assert "numpy alone where nothing else is named" in ABOUT
    modules = {path.stem: path for path in (ROOT / "swarm" / "maths").glob("*.py") if path.stem != "__init__"}
    assert NAMED.keys() == modules.keys()
    for name, path in modules.items():
        assert needed(path) - {"numpy"} == NAMED[name], name
    assert {name for name, libraries in NAMED.items() if "torch" in libraries} and not all(NAMED.values())


def test_those_of_arrays_come_without_torch():
    """Nothing that they import brings it along."""
    plain = [f"swarm.maths.{name}" for name, libraries in NAMED.items() if "torch" not in libraries]
    code = f"import sys, importlib; [importlib.import_module(name) for name in {plain}]; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
