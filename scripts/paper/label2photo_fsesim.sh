#!/usr/bin/env bash
# Cityscapes' label maps to photographs with FSeSim, fixed VGG16 features.
. "$(dirname "$0")/common.sh"
fetch_cityscapes
train --model sc --direction BtoA "${fsesim[@]}"
translate --model sc --direction BtoA --load_size 256
distance "$data/testA"
segmentation
compare FID fid fid.json "not quoted" "see docs/paper.md"
compare "pixel accuracy" pixel_accuracy cityscapes.json "not quoted" "see docs/paper.md"
