#!/usr/bin/env bash
# Trains sincut, CUT on one photograph and one painting, with the published settings and a moving average. The demo takes
# a quarter of an hour on a CPU core. Translate the photograph with test.py --model sincut --use_ema.
# bash scripts/train_sincut.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]
. "$(dirname "$0")/common.sh"
start datasets/photo2painting "$@"
# Small networks and few patches, for minutes instead of days, as in train_sinsc.sh.
small=(--seed 1 --netG smallstylegan2 --ngf 4 --ndf 3 --nce_layers 0,2,3 --max_dataset_size 4000 --n_epochs 1
    --n_epochs_decay 1 --print_freq 480 --display_freq 1600 --save_latest_freq 4000)
train --model sincut --ema 0.995
