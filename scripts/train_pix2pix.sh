#!/usr/bin/env bash
# Trains pix2pix on pairs: trainA and trainB with equal file names, or train with both images side by side.
# The demo's pairs are those that the bundled drawings have: their test pictures.
# bash scripts/train_pix2pix.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]
. "$(dirname "$0")/common.sh"
start datasets/lineart2color "$@"
train --model pix2pix -- --phase test
