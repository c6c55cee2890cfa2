#!/usr/bin/env bash
# Cityscapes' label maps to photographs with LSeSim, learned self-similarity.
. "$(dirname "$0")/common.sh"
fetch_cityscapes
train --model sc --direction BtoA "${lsesim[@]}"
translate --model sc --direction BtoA --load_size 256
distance "$data/testA"
segmentation
compare FID fid fid.json 49.7 "https://github.com/lyndonzheng/F-LSeSim/issues/8"
compare "pixel accuracy" pixel_accuracy cityscapes.json 0.732 "docs/paper.md"
