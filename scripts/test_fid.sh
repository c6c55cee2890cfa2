#!/usr/bin/env bash
# Scores what test_sc.sh, or test.py, has translated against DATAROOT/testB by FID: 2048 features of Inception, whose weights
# are downloaded once, or --inception_weights FILE. The demo scores that of test_sc.sh by the bundled VGG16 instead.
# bash scripts/test_fid.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]
. "$(dirname "$0")/common.sh"
start datasets/lineart2color "$@"
root=${place[1]} name=${place[3]} flags=(--metrics fid --resize clean)
[ $demo = no ] || name=demo_sc flags=(--truth "$root/testB")
place=(metrics --outputs "results/$name/test_latest/images/fake_B" --real "$root/testB")
run evaluate.py "${flags[@]}"
