"""Where the repository lies, and the folder of further data that some machines have beside it."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("H_SWARM_SHARED") or ROOT.parent / "shared")
