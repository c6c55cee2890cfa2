#!/usr/bin/env bash
# The paper's claims on data with a known truth, at a size that a CPU carries: sc-FSeSim, sc-LSeSim, cycle_gan and CUT on
# datasets/lineart2color, and one setting of the losses varied at a time. Two seeds: --seeds 1 2 3 takes more. Its runs
# are those of scripts/compare.sh, where that was run; what is finished is kept. docs/results.md says what came out.
# bash scripts/paper/miniature.sh [FLAGS]     FLAGS go to benchmarks.compare; what is typed last counts
set -euo pipefail
cd "$(dirname "$0")/../.."
bash scripts/setup.sh
exec .venv/bin/python -m benchmarks.compare --markdown --json results/compare/miniature.json --methods \
    sc-FSeSim sc-LSeSim cycle_gan cut \
    sc-FSeSim-lambda-2.5 sc-FSeSim-lambda-40 sc-FSeSim-relu2_1 sc-FSeSim-relu4_1 sc-FSeSim-both-layers \
    sc-FSeSim-patch-8 sc-FSeSim-patch-16 sc-LSeSim-patch-16 sc-LSeSim-T-0.02 sc-LSeSim-T-0.3 "$@"
