# Sourced by the scripts beside it, one for each row of the paper's tables. They take
#     bash scripts/paper/horse2zebra_lsesim.sh [--dry-run] [FLAGS]     FLAGS go to train.py; what is typed last counts
# download the data, train (or go on, where a training was broken off), translate the test images and score them. The
# experiment is checkpoints/paper_..., its scores are results/paper_.../*.json. --dry-run only prints the commands.
# Of evaluate.py: INCEPTION=FILE and LPIPS=FILE are the weights of Inception and of LPIPS' AlexNet, for machines without
# internet access; SEGMENTER=FILE is a network that segments photographs as those of Cityscapes, which the scores of
# label2photo need.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # sh may be another shell
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

name=paper_$(basename "$0" .sh)
images=results/$name/test_latest/images
dry=no
if [ "${1:-}" = --dry-run ]; then dry=yes; shift; fi
typed=("$@")
python=.venv/bin/python
[ -x $python ] || python=python3

# What all trainings share: ImageNet's VGG16 as in the paper, not the bundled one, and a seed, which the paper's had not.
common=(--vgg_weights imagenet --seed 1)
# FSeSim and LSeSim of the paper: relu3_1 and relu4_1. LSeSim learns from local windows: its author names 32.
fsesim=(--attn_layers 4,7 --patch_size 64)
lsesim=(--attn_layers 4,7 --patch_size 32 --learned_attn --augment)

# run COMMAND...: say it and, unless this is a dry run, do it.
run() {
    printf '$ %s\n' "$(printf '%q ' "$@")"
    [ $dry = yes ] || "$@"
}

# fetch SET: the data set, as datasets/SET.
fetch() {
    data=datasets/$1
    [ $dry = no ] && [ -d "$data" ] || run $python datasets/download.py "$1"
}

# train FLAGS...: the experiment, or the rest of it.
train() {
    local resume=()
    [ ! -f "checkpoints/$name/latest_state.pth" ] || resume=(--continue_train)
    run $python train.py --dataroot "$data" --name "$name" "${common[@]}" "$@" ${resume[@]+"${resume[@]}"} \
        ${typed[@]+"${typed[@]}"}
}

# translate FLAGS...: every test image.
translate() {
    run $python test.py --dataroot "$data" --name "$name" --num_test inf "$@"
}

# distance REAL [OUTPUTS]: FID as pytorch-fid computes it, which the paper used.
distance() {
    run $python evaluate.py metrics --outputs "${2:-$images/fake_B}" --real "$1" --metrics fid --resize original \
        ${INCEPTION:+--inception_weights "$INCEPTION"} --json "results/$name/fid.json"
}

# compare SCORE KEY FILE PAPER SOURCE: the paper's number beside ours.
compare() {
    local ours="not run here"
    if [ $dry = no ] && [ -f "results/$name/$3" ]; then
        ours=$($python -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "results/$name/$3" "$2")
    fi
    printf '%s: paper %s (%s), ours %s\n' "$1" "$4" "$5" "$ours"
}

# fetch_cityscapes: says how to get the data, which nobody may pass on.
fetch_cityscapes() {
    data=datasets/cityscapes
    if [ $dry = yes ]; then
        run $python datasets/prepare_cityscapes.py --gtFine_dir gtFine --leftImg8bit_dir leftImg8bit --out $data
    elif [ ! -d $data ]; then
        $python datasets/download.py cityscapes
    fi
}

# segmentation: what a network finds in the translations, against the label maps that they were made of.
segmentation() {
    if [ -n "${SEGMENTER:-}" ] || [ $dry = yes ]; then
        run $python evaluate.py cityscapes --labels $data/testB --labels_format colours --images "$images/fake_B" \
            --network "${SEGMENTER:-segmenter.pt2}" --out "results/$name"
    else
        echo "SEGMENTER=FILE names no segmentation network, so pixel accuracy is left out (docs/paper.md)"
    fi
}
