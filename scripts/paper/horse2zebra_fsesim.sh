#!/usr/bin/env bash
# Horses to zebras with FSeSim, fixed VGG16 features.
. "$(dirname "$0")/common.sh"
fetch horse2zebra
train --model sc "${fsesim[@]}"
translate --model sc --load_size 256
distance "$data/testB"
compare FID fid fid.json "not quoted" "see docs/paper.md"
