"""`python -m swarm`: the same as `h-swarm`."""

import sys

if __name__ == "__main__":
    sys.path[:] = sys.path[1:]  # the current folder, in which an evaluate.py of ours or yours would hide a library
    from swarm.programs.command import main

    sys.exit(main())
