"""Scores a found system again: `python evaluate.py search/<name> -e exact_match -d gsm8k --split test`."""

import sys

from swarm.workers.import_path import leave_script_folder

if __name__ == "__main__":
    leave_script_folder(__file__)
    from swarm.programs.evaluate import evaluate_program
    from swarm.programs.front_doors import guarded

    sys.exit(guarded(evaluate_program))
