#!/usr/bin/env bash
# Yosemite in summer to winter, in several styles: MUNIT's networks with LSeSim (--model munit_sc). As many images as in
# MUNIT's own configuration of this set, 1,000,000, at its learning rate; the rate falls linearly in the second half.
. "$(dirname "$0")/common.sh"
fetch summer2winter_yosemite
train --model munit_sc "${lsesim[@]}" --lr 0.0001 --n_epochs 400 --n_epochs_decay 400 --max_iters 1000000
translate --model munit_sc --load_size 256 --n_styles 10
distance "$data/testB" "$images/fake_B_1"
if [ $dry = yes ]; then styles=("$images"/fake_B_{1,2}); else styles=("$images"/fake_B_*); fi
run $python evaluate.py diversity --outputs "${styles[@]}" --json "results/$name/diversity.json"
compare FID fid fid.json "not quoted" "see docs/paper.md"
compare "diversity (VGG16 features, not LPIPS)" style_diversity diversity.json "not quoted" "see docs/paper.md"
