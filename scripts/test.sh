#!/usr/bin/env bash
# The whole check, as CI runs it: linter, type checker, docs and every test, without network or GPU. Makes or updates .venv.
#
#   bash scripts/test.sh [pytest arguments]        for example: -k decode, tests/maths, -n 0 (one process)
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

bash scripts/environment.sh dev report gemini genai judge routing finetune embeddings maths harness ray docs

# Nothing here may reach for the network or draw on all cores at once: pytest has a process per core already.
export HF_HUB_OFFLINE=1 WANDB_MODE=disabled TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# Below are the programs themselves, not `python -m`: that would put this folder, and our evaluate.py, on sys.path.
# And byte code is kept: every process that a test starts would compile our package, and pytest every test, each time.
unset PYTHONPATH PYTHONDONTWRITEBYTECODE

say() { printf '\n== %s\n' "$*"; }

say "ruff check"
.venv/bin/ruff check .
say "mypy"
.venv/bin/mypy
say "imports"
if [[ -x .venv/bin/lint-imports ]]; then .venv/bin/lint-imports --no-cache | tail -n 6; fi  # needs Python 3.11
say "docs"
NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict  # no --quiet: that would let broken links pass
say "pytest"
exec .venv/bin/pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder "$@"
