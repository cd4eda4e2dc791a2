"""Models with different vocabularies write one text, token by token: DeePEn's four steps, and a picture.

    python scripts/deepen.py matrix --config conf.json
    python scripts/deepen.py run --config conf.json -lr 0.15 -rm test -rsd res
    python scripts/deepen.py eval res
    python scripts/deepen.py sweep --config conf.json -lr 0.05 0.15 -len 1 5 --limit 50 --out sweep
    python scripts/deepen.py picture --models MODEL MODEL --tokens " the" " cat" " dog" --out picture.png

The published program's configs, flags, data and result files (arXiv 2404.12715); see docs/fusion.md.
"""

import sys

from swarm.programs.deepen.deepen import deepen_program
from swarm.programs.front_doors import guarded

if __name__ == "__main__":
    sys.exit(guarded(deepen_program))
