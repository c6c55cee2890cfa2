#!/usr/bin/env bash
# Trains CycleGAN; --structure lsesim --augment puts LSeSim in the place of its cycles.
# bash scripts/train_cyclegan.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]
. "$(dirname "$0")/common.sh"
start datasets/lineart2color "$@"
train --model cycle_gan
