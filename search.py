"""Searches for a multi-LLM system: `python search.py -e exact_match -d gsm8k`; `--help` lists the options."""

import sys

from swarm.workers.import_path import leave_script_folder

if __name__ == "__main__":
    leave_script_folder(__file__)
    from swarm.programs.front_doors import guarded
    from swarm.programs.search import search_program

    sys.exit(guarded(search_program))
