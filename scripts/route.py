"""One prompt to one expert: answers ranked; routers fitted, scored, asked, and tried on stored answers.

python scripts/route.py replay data/routing/validation.jsonl data/routing/test.jsonl --metric bertscore
python scripts/route.py rank -e exact_match -d graph_tasks_small --metrics rougeL exact
python scripts/route.py fit -e exact_match -d graph_tasks_small --out routers/mine
python scripts/route.py eval routers/mine -e exact_match -d graph_tasks_small
python scripts/route.py ask routers/mine "degree of C in C-D D-E ?" --only
"""

import sys

from swarm.programs.front_doors import guarded
from swarm.programs.route.route import route_program

if __name__ == "__main__":
    sys.exit(guarded(route_program))
