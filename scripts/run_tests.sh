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
types=$(mktemp)
.venv/bin/python -m mypy > "$types" 2>&1 & # beside the tests: the first time, it takes a core for most of a minute
mypy=$!
# Ends pytest, too, if this script is ended. Some machines lack pkill.
trap '{ pkill -P $$ || kill "$mypy" || true; } 2> /dev/null; rm -f "$types"' EXIT
export OMP_NUM_THREADS=1 # each process of pytest takes a core
code=0
.venv/bin/python -m pytest -n auto --maxprocesses 8 --dist worksteal ${tests[@]+"${tests[@]}"} "$@" || code=$?
[ "$code" != 2 ] || exit 2 # Ctrl-C
wait "$mypy" || code=1
cat "$types"
exit "$code"
