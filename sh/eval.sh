#!/usr/bin/env bash
# Scores of all result files below some folders:
#
#   bash sh/eval.sh [FOLDER ...]            (default: ./res, where run.sh writes)
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
python="$here/.venv/bin/python"
[[ -x $python ]] || python=python

(($#)) || set -- ./res
exec "$python" "$here/scripts/deepen.py" eval "$@"
