#!/usr/bin/env bash
# From nothing to coloured drawings: sets up .venv, trains LSeSim on datasets/lineart2color, translates the 160 test
# drawings and scores them against the true colour pictures. Run again, it reuses whatever is finished.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # sh may be another shell
set -euo pipefail
cd "$(dirname "$0")/.."
name=quickstart
data=datasets/lineart2color
images=results/$name/test_latest/images
seconds=checkpoints/$name/train_seconds  # written when the training is finished
spent=$seconds.part                      # until then, also when it is stopped

bash scripts/setup.sh

if [ -f "$seconds" ]; then
    echo "quickstart.sh: checkpoints/$name is trained already; remove the folder to train anew"
else
    resume=()
    [ -f checkpoints/$name/latest_state.pth ] && resume=(--continue_train)
    before=$(cat "$spent" 2> /dev/null || echo 0)
    started=$SECONDS
    stopped() {
        if [ -d checkpoints/$name ]; then echo $((before + SECONDS - started)) > "$spent"; fi
        echo "quickstart.sh: the training is not finished; run quickstart.sh again to go on with it"
    }
    trap stopped EXIT
    # Small networks and a high rate, for minutes instead of days; whole drawings at their own size, because a crop does
    # not tell inside from outside; one VGG16 layer, because passes through VGG16 cost the most.
    .venv/bin/python train.py --dataroot $data --name $name --model sc --learned_attn --augment --seed 1 \
        --preprocess none --attn_layers relu3_1 --ngf 16 --ndf 32 --no_antialias --init_type normal \
        --lr 0.0008 --n_epochs 2 --n_epochs_decay 2 --ema 0.99 \
        --print_freq 50 --display_freq 400 --update_html_freq 400 --save_latest_freq 800 ${resume[@]+"${resume[@]}"}
    trap - EXIT
    echo $((before + SECONDS - started)) > "$seconds"
    rm -f "$spent"
fi

.venv/bin/python test.py --dataroot $data --name $name --model sc --dataset_mode aligned --num_test inf --use_ema
.venv/bin/python evaluate.py metrics \
    --inputs "$images/real_A" --outputs "$images/fake_B" --real $data/testB --truth $data/testB \
    --json results/$name/metrics.json \
    --record page=results/$name/test_latest/index.html "train_seconds=$(cat "$seconds")" seed=1 \
    "threads=$(.venv/bin/python -c 'import torch; print(torch.get_num_threads())')"
echo "Look at the drawings: results/$name/test_latest/index.html"
