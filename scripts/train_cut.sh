#!/usr/bin/env bash
# Trains CUT; with --CUT_mode FastCUT, FastCUT.
# bash scripts/train_cut.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]
. "$(dirname "$0")/common.sh"
start datasets/lineart2color "$@"
train --model cut -- --nce_layers 0,4,7 --lambda_NCE 3
