"""The published datasets, or sets of the hub that are like them: `h-swarm data get`."""

import sys

from swarm.programs.data.get_data import get_program
from swarm.programs.front_doors import guarded

if __name__ == "__main__":
    sys.exit(guarded(get_program))
