#!/usr/bin/env bash
# From nothing to coloured drawings: sets up .venv, trains LSeSim on datasets/lineart2color, translates the 160 test
# drawings and scores them against the true colour pictures. Run again, it reuses whatever is finished.
set -euo pipefail
cd "$(dirname "$0")/.."
name=quickstart
data=datasets/lineart2color
images=results/$name/test_latest/images
seconds=checkpoints/$name/train_seconds  # written when the training is finished

bash scripts/setup.sh

if [ -f "$seconds" ]; then
    echo "quickstart.sh: checkpoints/$name is trained already; remove the folder to train anew"
else
    resume=()
    [ -f checkpoints/$name/latest_state.pth ] && resume=(--continue_train)
    started=$SECONDS
    .venv/bin/python train.py --dataroot $data --name $name --model sc --learned_attn --augment --seed 1 \
        --preprocess crop --crop_size 64 --attn_layers 4,7 \
        --ngf 24 --ndf 32 --lr 0.0004 --n_epochs 4 --n_epochs_decay 4 \
        --print_freq 200 --display_freq 400 --update_html_freq 400 --save_latest_freq 800 ${resume[@]+"${resume[@]}"}
    echo $((SECONDS - started)) > "$seconds"
fi

.venv/bin/python test.py --dataroot $data --name $name --model sc --dataset_mode aligned --num_test inf
.venv/bin/python evaluate.py metrics \
    --inputs "$images/real_A" --outputs "$images/fake_B" --real $data/testB --truth $data/testB \
    --json results/$name/metrics.json \
    --record page=results/$name/test_latest/index.html "train_seconds=$(cat "$seconds")"
echo "Look at the drawings: results/$name/test_latest/index.html"
