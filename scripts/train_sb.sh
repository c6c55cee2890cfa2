#!/usr/bin/env bash
# Trains UNSB, the unpaired Schroedinger bridge; --structure lsesim --augment puts LSeSim in the place of PatchNCE.
# bash scripts/train_sb.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]
. "$(dirname "$0")/common.sh"
start datasets/lineart2color "$@"
train --model sb -- --nce_layers 0,4,7 --lambda_NCE 3
