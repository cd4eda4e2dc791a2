"""Scores a found system again: `python evaluate.py search/<name> -e exact_match -d gsm8k --split test`."""

import sys

from swarm import front_doors

if __name__ == "__main__":
    front_doors.leave_script_folder(__file__)
    from swarm.scoring import evaluate_program

    sys.exit(front_doors.guarded(evaluate_program))
