"""`h-swarm bench`: what things cost on this machine. The benchmarks are in the repository, not in the package."""

import sys
from importlib import import_module
from pathlib import Path

from swarm.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def bench_program(arguments: list[str] | None = None) -> int:
    """Runs the benchmarks. Returns the exit code; raises UserError outside of a clone."""
    if not (ROOT / "benchmarks" / "program.py").is_file():
        raise UserError(
            "h-swarm bench needs the repository's benchmarks/, which are not part of the package: clone it, "
            "pip install -e . there, and call it again"
        )
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))  # at the end, or a library would find our evaluate.py
    code: int = import_module("benchmarks.program").main(arguments)
    return code
