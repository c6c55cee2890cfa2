#!/usr/bin/env bash
# Trains LSeSim; with --learned_attn false, FSeSim.
# bash scripts/train_sc.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]
. "$(dirname "$0")/common.sh"
start datasets/lineart2color "$@"
train --model sc --learned_attn --augment -- --attn_layers relu3_1
