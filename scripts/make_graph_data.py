"""A set of graph questions with known answers: `h-swarm data graph`."""

import sys

from swarm.programs.data.make_graph_data import graph_program
from swarm.programs.front_doors import guarded

if __name__ == "__main__":
    sys.exit(guarded(graph_program))
