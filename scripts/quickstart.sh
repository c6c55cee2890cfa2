#!/usr/bin/env bash
# From nothing to photographs from space: sets up .venv, trains FSeSim on datasets/atlas2satellite, translates the 87
# test sheets of the atlas and compares them with the true photographs. Run again, it reuses whatever is finished.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # sh may be another shell
set -euo pipefail
cd "$(dirname "$0")/.."
name=quickstart
data=datasets/atlas2satellite
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
    amp=no  # bf16 where the processor or the GPU computes with it
    if .venv/bin/python -c 'import sys, torch
cuda = torch.cuda.is_available()
sys.exit(not (torch.cuda.is_bf16_supported() if cuda else torch.cpu._is_avx512_bf16_supported()))'; then amp=bf16; fi
    # Small networks, small crops and a high rate, for minutes instead of days; one VGG16 layer, because passes through
    # VGG16 cost the most. Without instance normalisation, both networks see colours; after --identity_first, the
    # generator starts from those of the atlas. The identity loss keeps those of photographs.
    .venv/bin/python train.py --dataroot $data --name $name --model sc --seed 1 --amp $amp \
        --attn_layers relu3_1 --use_norm --norm none --init_gain 1 --normD spectral --identity_first 600 \
        --ngf 16 --ndf 32 --load_size 143 --crop_size 64 --cache ram --lambda_identity 5 --diff_augment translation \
        --lr 0.0004 --ema 0.995 --n_epochs 7 --n_epochs_decay 6 \
        --print_freq 50 --display_freq 100 --update_html_freq 100 --save_latest_freq 400 ${resume[@]+"${resume[@]}"}
    trap - EXIT
    echo $((before + SECONDS - started)) > "$seconds"
    rm -f "$spent"
fi

.venv/bin/python test.py --dataroot $data --name $name --model sc --dataset_mode aligned --num_test inf --use_ema
record=("page=results/$name/test_latest/index.html" "train_seconds=$(cat "$seconds")" seed=1
        "threads=$(.venv/bin/python -c 'import torch; print(torch.get_num_threads())')")
.venv/bin/python evaluate.py metrics --inputs "$images/real_A" --outputs "$images/fake_B" --real $data/testB \
    --truth $data/testB --json results/$name/metrics.json --record "${record[@]}"
.venv/bin/python evaluate.py judge --outputs "$images/fake_B" --json results/$name/judge.json --record "${record[@]}"
echo "Look at the photographs: results/$name/test_latest/index.html"
