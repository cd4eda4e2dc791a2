"""The import path of a front door. Imports nothing of weight itself: it has to come before everything else."""

import sys
from pathlib import Path


def leave_script_folder(script: str) -> None:
    """Takes a front door's own folder off the import path.

    Python puts it first, and there our search.py and evaluate.py would be found by a library's `import evaluate`.
    The package `swarm` is imported by then, so its own modules need the path no more.
    """
    folder = Path(script).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != folder]
