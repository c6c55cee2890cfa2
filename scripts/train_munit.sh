#!/usr/bin/env bash
# Trains plain MUNIT: several translations of an image, by reconstruction in both directions.
# bash scripts/train_munit.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]
. "$(dirname "$0")/common.sh"
start datasets/lineart2color "$@"
train --model munit --lambda_cycle 10
