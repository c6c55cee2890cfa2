#!/usr/bin/env bash
# Horses to zebras with LSeSim, learned self-similarity.
. "$(dirname "$0")/common.sh"
fetch horse2zebra
train --model sc "${lsesim[@]}"
translate --model sc --load_size 256
distance "$data/testB"
compare FID fid fid.json 38.0 "https://github.com/lyndonzheng/F-LSeSim/issues/1"
