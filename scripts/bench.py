"""What things cost, ours, a plain way and the floor: `h-swarm bench`."""

import sys

from swarm.programs.bench import bench_program
from swarm.programs.front_doors import guarded

if __name__ == "__main__":
    sys.exit(guarded(bench_program))
