#!/usr/bin/env bash
# Yosemite in summer to winter, in several styles: MUNIT's networks with LSeSim (--model munit_sc). As many images as in
# MUNIT's own configuration of this set, 1,000,000, at its learning rate; the rate falls linearly in the second half.
. "$(dirname "$0")/common.sh"
fetch summer2winter_yosemite
train --model munit_sc "${lsesim[@]}" --lr 0.0001 --n_epochs 400 --n_epochs_decay 400 --max_iters 1000000
translate --model munit_sc --load_size 256 --n_styles 20
distance "$data/testB" "$images/fake_B_1"
if [ $dry = yes ]; then styles=("$images"/fake_B_{1,2}); else styles=("$images"/fake_B_*); fi
run $python evaluate.py metrics --outputs "${styles[@]}" --real "$data/testB" --metrics inception_prdc --resize original \
    ${INCEPTION:+--inception_weights "$INCEPTION"} --json "results/$name/prdc.json"
run $python evaluate.py diversity --outputs "${styles[@]}" --lpips ${LPIPS:+--lpips_weights "$LPIPS"} \
    --json "results/$name/diversity.json"
compare FID fid fid.json "not quoted" "docs/paper.md"
compare density inception_density_outputs prdc.json "not quoted" "docs/paper.md"
compare coverage inception_coverage_outputs prdc.json "not quoted" "docs/paper.md"
compare "LPIPS between styles" lpips_diversity diversity.json "not quoted" "docs/paper.md"
