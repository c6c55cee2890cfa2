#!/usr/bin/env bash
# Trains GcGAN; --structure lsesim --augment adds LSeSim to its geometry consistency.
# bash scripts/train_gc_gan.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]
. "$(dirname "$0")/common.sh"
start datasets/lineart2color "$@"
train --model gc_gan
