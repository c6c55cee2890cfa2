#!/usr/bin/env bash
# Sets up .venv, then lints, type-checks and tests. Arguments go to pytest: bash scripts/run_tests.sh -k resume
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh --dev
.venv/bin/python -m ruff check .
.venv/bin/python -m mypy
exec .venv/bin/python -m pytest "$@"
