#!/usr/bin/env bash
# Trains every method on datasets/lineart2color with as many generator updates and two seeds, and prints one table:
# Fréchet distance, line IoU, colour error, seconds a step, parameters, peak memory. Hours on a CPU; what is finished is
# kept. Arguments go to the program: bash scripts/compare.sh --methods cut sc-LSeSim --seeds 1
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # sh may be another shell
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
exec .venv/bin/python -m experiments.compare --measure --markdown --json results/compare/table.json "$@"
