"""LoRA experts from a recipe that lists bases and data, trained with TRL and PEFT, ready for a pool.

    python scripts/finetune.py recipe.yml
    python scripts/finetune.py recipe.yml --check
    python scripts/finetune.py recipe.yml --only science --out my_experts
    accelerate launch scripts/finetune.py recipe.yml
    python search.py -e exact_match -d gsm8k -i my_experts

The same recipe gives the same weights; what was stopped goes on when it is started again.
"""

import sys

from swarm.programs.finetune import finetune_program
from swarm.programs.front_doors import guarded

if __name__ == "__main__":
    sys.exit(guarded(finetune_program))
