"""Searches for a multi-LLM system: `python search.py -e exact_match -d gsm8k`; `--help` lists the options."""

import sys

from swarm import front_doors

if __name__ == "__main__":
    front_doors.leave_script_folder(__file__)
    from swarm.searching import search_program

    sys.exit(front_doors.guarded(search_program))
