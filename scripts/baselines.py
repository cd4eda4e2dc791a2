"""What a search has to beat, scored before paying for it: a constant answer, each expert, their average, their vote.

    python scripts/baselines.py -e exact_match -d gsm8k
    python scripts/baselines.py -e multiple_choice -d mmlu_pro -i my_experts --split dev
    python scripts/baselines.py -e exact_match -d nlgraph --without-experts

The same engine, data and scorers as the search's; dev and test, each with its 95 % interval.
"""

import sys

from swarm.programs.baselines import baselines_program
from swarm.programs.front_doors import guarded

if __name__ == "__main__":
    sys.exit(guarded(baselines_program))
