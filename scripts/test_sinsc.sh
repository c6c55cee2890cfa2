#!/usr/bin/env bash
# Translates the photograph that train_sinsc.sh has learned from, at its own size; the demo is that of train_sinsc.sh.
# bash scripts/test_sinsc.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]
. "$(dirname "$0")/common.sh"
start datasets/photo2painting "$@"
run test.py --model sinsc --use_ema
