#!/usr/bin/env bash
# Trains sinsc, FSeSim from one photograph and one painting, with the published settings and a moving average;
# --learned_attn --augment is LSeSim. The demo takes a quarter of an hour on a CPU core; test_sinsc.sh --demo then shows
# what it has learned.
# bash scripts/train_sinsc.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]
. "$(dirname "$0")/common.sh"
start datasets/photo2painting "$@"
# Small patches, networks and batches and a high rate, for minutes instead of days; one VGG16 layer, because passes through
# VGG16 cost the most; the identity term, because so few steps leave to chance which colours light and dark become; and R1
# in the place of the published gradient penalty, as in SinCUT and StyleGAN2.
small=(--seed 1 --crop_size 64 --batch_size 4 --netG smallstylegan2 --ngf 4 --ndf 3 --attn_layers relu3_1
    --lambda_spatial 5 --lambda_identity 1 --lambda_gradient 0 --lambda_R1 1 --lr 0.002 --max_dataset_size 3000 --n_epochs 2 --n_epochs_decay 2
    --print_freq 500 --display_freq 1000 --save_latest_freq 3000)
train --model sinsc --ema 0.995
