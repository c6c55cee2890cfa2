#!/usr/bin/env bash
# Sets up .venv, then lints, type-checks and tests. `--all` runs the slow tests too. Other arguments go to pytest:
# bash scripts/run_tests.sh --all -k resume
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # sh may be another shell
set -euo pipefail
cd "$(dirname "$0")/.."
tests=(-m 'not slow')
if [ "${1:-}" = --all ]; then
    tests=()
    shift
fi
bash scripts/setup.sh --dev
.venv/bin/python -m ruff check .
.venv/bin/python -m mypy
export OMP_NUM_THREADS=1 # each process of pytest takes a core
exec .venv/bin/python -m pytest -n auto --maxprocesses 8 --dist worksteal ${tests[@]+"${tests[@]}"} "$@"
