#!/usr/bin/env bash
# Measures on a GPU, within eight minutes, what docs/performance.md lacks: the most important first.
#     bash scripts/gpu_session.sh [FOLDER]       results in FOLDER; left out: results/gpu_session
#     QUICK=1 bash scripts/gpu_session.sh        tiny networks and few rows: does everything run?
# Each part has a limit, and the time that earlier parts have left. A part that fails or runs out of time leaves the
# others alone. It needs no network, and of Python packages requirements.txt and pytest. FOLDER gets, as they come,
#     summary.txt     a line for each part: its exit code (124: out of time) and its seconds
#     output.txt      what the parts print, their tables in Markdown
#     numbers.jsonl   the numbers of the tables, a line for each part
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
for file in summary.txt output.txt numbers.jsonl; do
    : > "$folder/$file"
done
temporary=$(mktemp -d)
running=
trap '[ -z "$running" ] || kill "$running"; rm -rf "$temporary"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
export PYTHONUNBUFFERED=1 # a part that runs out of time has written what it has printed
failed=0 deadline=0

# part NAME LIMIT COMMAND...: run the command for at most LIMIT seconds and those that earlier parts have left.
# SIGINT ends it, after which pytest still tells what has failed so far.
part() {
    local name=$1 begin=$SECONDS limit code=0
    deadline=$((deadline + $2 * ${patience:-1}))
    [ "$deadline" -le "$budget" ] || deadline=$budget
    limit=$((deadline - SECONDS))
    if [ "$limit" -lt 5 ]; then
        echo "$name: no time left" | tee -a "$folder/summary.txt"
        failed=1
        return
    fi
    printf '\n## %s\n\n' "$name" >> "$folder/output.txt"
    timeout --signal INT --kill-after 5 "$limit" "${@:3}" < /dev/null >> "$folder/output.txt" 2>&1 &
    running=$! # in the background, because bash answers Ctrl-C only after a command in the foreground has ended
    wait "$running" || code=$?
    running=
    [ $code = 0 ] || failed=1
    echo "$name: exit $code after $((SECONDS - begin)) s of $limit" | tee -a "$folder/summary.txt"
}

# benchmark NAME LIMIT FLAGS...: run python -m benchmarks.NAME, up to a dash in NAME.
benchmark() {
    part "$1" "$2" "$python" -m "benchmarks.${1%%-*}" --markdown --device cuda --json "$temporary/$1.json" "${@:3}"
    [ ! -s "$temporary/$1.json" ] || { tr -d '\n' < "$temporary/$1.json" && echo; } >> "$folder/numbers.jsonl"
}

method=(--model sc --learned_attn --augment --patch_size 32 --amp bf16)
if [ -n "${QUICK:-}" ]; then
    tiny=(--size 32 --netG resnet_6blocks --ngf 2 --netD n_layers --n_layers_D 1 --ndf 2 --vgg_weights random)
    step=("${tiny[@]}" --rounds 1 --calls 1) profile=("${tiny[@]}") batches=(1)
    first='FSeSim-p64-bf16,FSeSim-p64-bf16-graph' second='FSeSim-p64-fp16' compiled='FSeSim-p64-bf16-compile'
    launches=("${tiny[@]}" --rounds 1 --methods FSeSim-p64) large=("${launches[@]}" --batch_size 2)
    losses=(--rounds 1 --channels 8 --side 8 --window 8 --queries 9 --size 32 --batch_size 1)
    data=(--rounds 1 --images 2 --workers 0 --photo_size 64)
    inference=(--rounds 1 --size 32 --large 64 --tile 40 --tile_overlap 16 --batch_size 1 --ngf 2)
    method+=("${tiny[@]:2}" --crop_size 32 --load_size 32 --max_iters 4 --print_freq 2)
    tests=(-k 'LSeSim and not waits and not agree')
else
    step=(--rounds 3) profile=() batches=(1 8)
    first='LSeSim-p32-bf16,LSeSim-p32-bf16-graph,LSeSim-p32-tf32,LSeSim-p32-float32'
    first+=',FSeSim-p64-bf16,FSeSim-p64-bf16-graph'
    second='LSeSim-p32-bf16-channels_first,LSeSim-p32-fp16,FSeSim-p64-tf32' compiled='LSeSim-p32-bf16-compile'
    launches=(--rounds 3 --methods FSeSim-p64 LSeSim-p32 LSeSim-p64 cut cycle_gan FastCUT gc_gan pix2pix munit_sc
        cycle_gan-LSeSim)
    large=(--rounds 3 --methods FSeSim-p64 LSeSim-p32 cycle_gan --amp bf16 --batch_size 8)
    losses=(--rounds 3)
    data=(--rounds 1 --workers 0 8) inference=(--rounds 1 --batch_size 1 8 --large 2048 --tile 512)
    method+=(--max_iters 1200 --print_freq 100)
    tests=()
fi

part machine 10 bash -c 'nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem --format=csv
    exec "$0" -c "import torch; print(torch.__version__, torch.version.cuda, torch.backends.cudnn.version())"' "$python"
part numbers 75 "$python" -m pytest -q -m gpu -p no:cacheprovider --tb=short tests/test_gpu_numbers.py \
    ${tests[@]+"${tests[@]}"}
benchmark step 100 "${step[@]}" --batch_size "${batches[@]}" --rows "$first"
benchmark launches 55 "${launches[@]}"
benchmark launches-8 25 "${large[@]}"
part profile 20 "$python" -m benchmarks.step --markdown --device cuda --profile --rows "${first%%,*}" \
    --batch_size "${batches[@]}" ${profile[@]+"${profile[@]}"}
part train 35 "$python" train.py --dataroot datasets/lineart2color --checkpoints_dir "$temporary" --name gpu \
    --gpu_ids 0 --seed 1 --no_html "${method[@]}"
benchmark step-compile 55 "${step[@]}" --batch_size 1 --rows "$compiled"
benchmark step-more 30 "${step[@]}" --batch_size "${batches[@]}" --rows "$second"
part control 30 "$python" -m pytest -q -m gpu -p no:cacheprovider --tb=short tests/test_gpu_graph.py tests/test_gpu.py \
    ${tests[@]+"${tests[@]}"}
benchmark losses 15 "${losses[@]}"
benchmark inference 15 "${inference[@]}"
benchmark data 15 "${data[@]}"
cat "$folder/summary.txt"
exit $failed
