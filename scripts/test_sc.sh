#!/usr/bin/env bash
# Translates all test images with a trained sc; the demo is that of train_sc.sh.
# bash scripts/test_sc.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]
. "$(dirname "$0")/common.sh"
start datasets/lineart2color "$@"
run test.py --model sc --num_test inf
