#!/usr/bin/env bash
# The anchors of a set of models, without a config:
#
#   bash sh/mat.sh SAVE_DIR MODEL MODEL ...
#
# They are saved in SAVE_DIR/<names>/<names>, where `run` finds them for a config whose matrices are in SAVE_DIR/<names>,
# as the published program puts them there. Models: folders or hub ids, in the config's order.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
python="$here/.venv/bin/python"
[[ -x $python ]] || python=python

(($# >= 3)) || { printf 'mat.sh: wanted: bash sh/mat.sh SAVE_DIR MODEL MODEL ...\n' >&2; exit 2; }
folder=$1
shift
names=""
for model in "$@"; do
    names+="${names:+_}$(basename -- "$model")"
done
exec "$python" "$here/scripts/deepen.py" matrix --models "$@" --out "$folder/$names/$names"
