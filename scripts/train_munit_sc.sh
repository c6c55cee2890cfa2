#!/usr/bin/env bash
# Trains munit_sc with LSeSim: several translations of an image.
#
#     bash scripts/train_munit_sc.sh DATAROOT NAME [further flags of train.py]
#     bash scripts/train_munit_sc.sh --demo                # bundled drawings at the quickstart's size
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
[ -x $python ] || python=python

if [ "${1-}" = --demo ]; then
    shift
    command=("$python" train.py --dataroot datasets/lineart2color --name munit_sc_demo
             --preprocess none --attn_layers relu3_1 --ngf 16 --ndf 32 --no_antialias --init_type normal
             --lr 0.0008 --ema 0.99 --n_epochs 2 --n_epochs_decay 2 --seed 1)
elif [ $# -ge 2 ]; then
    command=("$python" train.py --dataroot "$1" --name "$2" --patch_size 32 --ema 0.999)
    shift 2
else
    echo "usage: bash scripts/train_munit_sc.sh DATAROOT NAME [flags], or --demo" >&2
    exit 2
fi
command+=(--model munit_sc --learned_attn --augment "$@")
printf '%q ' "${command[@]}"
echo
exec "${command[@]}"
