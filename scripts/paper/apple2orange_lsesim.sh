#!/usr/bin/env bash
# Apples to oranges with LSeSim, learned self-similarity.
. "$(dirname "$0")/common.sh"
fetch apple2orange
train --model sc "${lsesim[@]}"
translate --model sc --load_size 256
distance "$data/testB"
compare FID fid fid.json "not quoted" "see docs/paper.md"
