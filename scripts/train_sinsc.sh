#!/usr/bin/env bash
# Learns from one photograph (DATAROOT/trainA) and one painting (DATAROOT/trainB), with the paper's settings. Further
# arguments go to train.py, such as --learned_attn --augment for LSeSim.
#
#   bash scripts/train_sinsc.sh DATAROOT NAME [FLAGS]
#   bash scripts/train_sinsc.sh --demo     # half an hour on two CPU cores with bundled images, and the translation
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
train() { (set -x; .venv/bin/python train.py --model sinsc "$@"); }

if [ "${1:-}" = "--demo" ]; then
    data=datasets/photo2painting name=sinsc_demo
    # Smaller patches, networks and batches, and a higher rate, for minutes instead of days; one VGG16 layer, because
    # passes through VGG16 cost the most; the identity term ties the painting's light and dark to the photograph's, which
    # so few steps would leave to chance.
    train --dataroot $data --name $name --seed 1 \
        --crop_size 64 --batch_size 4 --netG smallstylegan2 --ngf 4 --ndf 3 --attn_layers relu3_1 \
        --lambda_spatial 5 --lambda_identity 1 --lr 0.002 --ema 0.995 \
        --max_dataset_size 3000 --n_epochs 2 --n_epochs_decay 2 \
        --print_freq 500 --display_freq 1000 --save_latest_freq 3000
    bash scripts/test_sinsc.sh $data $name --use_ema
elif [ $# -lt 2 ]; then
    echo "usage: bash scripts/train_sinsc.sh DATAROOT NAME [FLAGS], or --demo" >&2
    exit 2
else
    train --dataroot "$1" --name "$2" "${@:3}"
fi
