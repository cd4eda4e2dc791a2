"""Memory of one way to answer at its peak, in a process of its own.

python -m benchmarks.routing_memory WAY FOLDER 60
"""

import subprocess
import sys
from pathlib import Path

from benchmarks.memory import peak
from benchmarks.parts import ROOT
from benchmarks.routing_ways import World


def peak_of(way: str, folder: Path, prompts: int) -> float:
    """MiB that a process has held at most that does nothing but answer so many prompts, one at a time."""
    command = [sys.executable, "-m", "benchmarks.routing_memory", way, str(folder), str(prompts)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return float(done.stdout.splitlines()[-1])


def probe(name: str, folder: Path, prompts: int) -> float:
    """Answers in this process."""
    world = World(folder, prompts)
    way = world.way(name)
    for prompt in world.prompts(world.dataset.test):
        way.answer([prompt])
    return peak()


if __name__ == "__main__":
    print(probe(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
