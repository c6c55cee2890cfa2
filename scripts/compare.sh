#!/usr/bin/env bash
# Trains every method on datasets/lineart2color with as many generator updates and two seeds, and prints one table of
# scores. Hours on a CPU; what is finished is kept. Arguments go to the program; with --measure it adds the costs of a step.
#   bash scripts/compare.sh --methods cut sc-LSeSim --seeds 1
#   bash scripts/compare.sh --data atlas2satellite --epochs 3 3 --extra="--amp bf16" --threads 1 --keep_going
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # sh may be another shell
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
exec .venv/bin/python -m experiments.compare --markdown --json results/compare/table.json "$@"
