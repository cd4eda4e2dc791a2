#!/usr/bin/env bash
# A config's test questions, answered in some modes with a learning rate of 0.15; a run that was stopped goes on:
#
#   bash sh/run.sh CONFIG [MODE ...]        modes: vanilla tas tas2 tas2+mas2 (default: these four)
#
# Results: ./res/{task}/test/{models}/{mode}. For other options: python scripts/deepen.py run --help
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
python="$here/.venv/bin/python"
[[ -x $python ]] || python=python

(($# >= 1)) || { printf 'run.sh: wanted: bash sh/run.sh CONFIG [MODE ...]\n' >&2; exit 2; }
config=$1
shift
(($#)) || set -- vanilla tas tas2 tas2+mas2
for mode in "$@"; do
    "$python" "$here/scripts/deepen.py" run --config "$config" -lr 0.15 -em "$mode" -rm test \
        -rsd './res/{task}/{rm}/{models}/{mode}'
done
