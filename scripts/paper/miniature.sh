#!/usr/bin/env bash
# The paper's claims on data with a known truth, at a size that a CPU carries: sc-FSeSim, sc-LSeSim, cycle_gan and CUT on
# the drawings of datasets/lineart2color at 64 pixels, and one setting of the losses varied at a time. Four to ten minutes
# a run on a CPU core; what is finished is kept. docs/results.md says what came out.
# bash scripts/paper/miniature.sh [FLAGS]     FLAGS go to experiments.compare; what is typed last counts
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # sh may be another shell
set -euo pipefail
cd "$(dirname "$0")/../.."
bash scripts/setup.sh
exec .venv/bin/python -m experiments.compare --markdown --size 64 --epochs 1 1 --seeds 1 2 \
    --checkpoints_dir checkpoints/miniature --results_dir results/miniature --json results/miniature/table.json \
    --methods sc-FSeSim sc-LSeSim cycle_gan cut-published sc-FSeSim-lambda-2.5 sc-FSeSim-lambda-40 sc-FSeSim-relu4_1 \
    sc-FSeSim-patch-8 sc-LSeSim-T-0.3 sc-LSeSim-no-copies "$@"
