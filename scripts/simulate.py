"""What more workers bring to a search: its real steps, scheduler, queue and executor, in simulated time.

    python scripts/simulate.py                                       # n = N = M = 10, D = 200; 1 to 1024 workers
    python scripts/simulate.py --workers 16 64 --graphs 30 --assignments 30 --top_p 0.8
    python scripts/bench.py pace scheduler --json pace.json          # how fast this machine is ...
    python scripts/simulate.py --pace pace.json --workers 1 2 4 8    # ... and what several like it would bring
    python scripts/simulate.py --between_losses 3600 --hangs 0.001 --json figures.json --csv figures.csv --picture c.png

Without --pace, times are ASSUMED for Gemma-7B on a card with 80 GB. The same command gives the same figures.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))  # benchmarks/ is not installed; at the end, as in bench.py

from benchmarks.simulation.program import simulate_program
from swarm.programs.front_doors import guarded

if __name__ == "__main__":
    sys.exit(guarded(simulate_program))
