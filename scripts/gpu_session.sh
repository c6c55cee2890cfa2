#!/usr/bin/env bash
# Measures on a GPU, within eight minutes, what docs/performance.md lacks: the most important first.
#     bash scripts/gpu_session.sh [FOLDER]       results in FOLDER; left out: results/gpu_session
#     QUICK=1 bash scripts/gpu_session.sh        tiny networks and few rows: does everything run?
# Each part has a limit of its own. A part that fails or runs out of time leaves the others alone. FOLDER gets
#     summary.txt    a line for each part: its exit code (124: out of time) and its seconds
#     NAME.txt       what the part printed, its tables in Markdown
#     NAME.json      its numbers, written as they come
# BUDGET is the time of all parts together in seconds, PYTHON the interpreter.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # sh may be another shell
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
[ -n "${PYTHON:-}" ] || [ -x $python ] || python=python3
patience=${QUICK:+20} # times the limits: a trial may run on a slow machine
budget=${BUDGET:-$((480 * ${patience:-1}))}
folder=${1:-results/gpu_session}
mkdir -p "$folder" || exit 2
: > "$folder/summary.txt"
failed=0

# part NAME LIMIT COMMAND...: run the command for at most LIMIT seconds, or for what is left of the budget.
part() {
    local name=$1 limit=$(($2 * ${patience:-1})) left=$((budget - SECONDS)) begin=$SECONDS code=0
    [ "$limit" -le "$left" ] || limit=$left
    if [ "$limit" -lt 5 ]; then
        echo "$name: no time left" | tee -a "$folder/summary.txt"
        failed=1
        return
    fi
    timeout --kill-after 5 "$limit" "${@:3}" < /dev/null > "$folder/$name.txt" 2>&1 || code=$?
    [ $code = 0 ] || failed=1
    echo "$name: exit $code after $((SECONDS - begin)) s of $limit" | tee -a "$folder/summary.txt"
}

# benchmark NAME LIMIT FLAGS...: run python -m benchmarks.NAME, up to a dash in NAME; tables in Markdown, and JSON.
benchmark() {
    part "$1" "$2" "$python" -m "benchmarks.${1%%-*}" --markdown --device cuda --json "$folder/$1.json" "${@:3}"
}

method=(--model sc --learned_attn --augment --patch_size 32 --amp bf16)
if [ -n "${QUICK:-}" ]; then
    tiny=(--size 32 --netG resnet_6blocks --ngf 2 --netD n_layers --n_layers_D 1 --ndf 2 --vgg_weights random)
    step=("${tiny[@]}" --rounds 1 --calls 1) profile=("${tiny[@]}") batches=(1) first='FSeSim-p64-bf16'
    launches=("${tiny[@]}" --rounds 1 --methods FSeSim-p64) graphs=$first second=$first third=$first
    losses=(--rounds 1 --channels 8 --side 8 --window 8 --queries 9 --size 32 --batch_size 1)
    data=(--rounds 1 --images 2 --workers 0 --photo_size 64)
    inference=(--rounds 1 --size 32 --large 64 --tile 40 --tile_overlap 16 --batch_size 1 --ngf 2)
    method+=("${tiny[@]:2}" --crop_size 32 --load_size 32 --max_iters 4 --print_freq 2)
    tests=(-k 'LSeSim and not waits and not agree')
else
    step=(--rounds 3) profile=() batches=(1 8) launches=(--rounds 3) losses=(--rounds 3)
    first='LSeSim-p32-bf16,LSeSim-p32-tf32,LSeSim-p32-float32,FSeSim-p64-bf16,FSeSim-p64-tf32'
    graphs='LSeSim-p32-bf16,FSeSim-p64-bf16'
    second='LSeSim-p32-bf16-channels_first,LSeSim-p32-fp16,LSeSim-p64-bf16'
    third='LSeSim-p32-bf16-compile'
    data=(--rounds 1 --workers 0 4 8) inference=(--rounds 1)
    method+=(--max_iters 1200 --print_freq 100)
    tests=()
fi
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT

part machine 20 bash -c 'nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem --format=csv
    exec "$0" -c "import torch; print(torch.__version__, torch.version.cuda, torch.backends.cudnn.version())"' "$python"
part numbers 75 "$python" -m pytest -q -m gpu -p no:cacheprovider tests/test_gpu_numbers.py ${tests[@]+"${tests[@]}"}
benchmark step 90 "${step[@]}" --batch_size "${batches[@]}" --rows "$first"
benchmark step-graph 60 "${step[@]}" --batch_size "${batches[@]}" --rows "$graphs" --cuda_graph on --pool_size 1
benchmark launches 60 "${launches[@]}" --batch_size "${batches[@]}"
part profile 40 "$python" -m benchmarks.step --markdown --device cuda --profile --rows "${first%%,*}" \
    --batch_size "${batches[@]}" ${profile[@]+"${profile[@]}"}
part train 45 "$python" train.py --dataroot datasets/lineart2color --checkpoints_dir "$temporary" --name gpu \
    --gpu_ids 0 --seed 1 --no_html "${method[@]}"
benchmark losses 30 "${losses[@]}"
benchmark step-more 60 "${step[@]}" --batch_size "${batches[@]}" --rows "$second"
benchmark inference 60 "${inference[@]}"
benchmark data 45 "${data[@]}"
benchmark step-compile 150 "${step[@]}" --batch_size 1 --rows "$third"
part control 90 "$python" -m pytest -q -m gpu -p no:cacheprovider tests/test_gpu.py tests/test_gpu_graph.py \
    ${tests[@]+"${tests[@]}"}
cat "$folder/summary.txt"
exit $failed
