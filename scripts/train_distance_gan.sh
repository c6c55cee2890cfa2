#!/usr/bin/env bash
# Trains DistanceGAN by the distance between halves of an image; --distance pairs compares images, and --structure lsesim
# --augment adds LSeSim.
# bash scripts/train_distance_gan.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]
. "$(dirname "$0")/common.sh"
start datasets/lineart2color "$@"
train --model distance_gan
