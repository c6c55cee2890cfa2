#!/usr/bin/env bash
# Trains munit_sc with LSeSim: several translations of an image.
# bash scripts/train_munit_sc.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]
. "$(dirname "$0")/common.sh"
start datasets/lineart2color "$@"
train --model munit_sc --learned_attn --augment -- --attn_layers relu3_1 --lambda_spatial 20
