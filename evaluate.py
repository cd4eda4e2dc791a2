"""Scores a found system again: `python evaluate.py search/<name> -e exact_match -d gsm8k --split test`."""

import sys

from swarm.import_path import leave_script_folder

if __name__ == "__main__":
    leave_script_folder(__file__)
    from swarm.front_doors import guarded
    from swarm.scoring import evaluate_program

    sys.exit(guarded(evaluate_program))
