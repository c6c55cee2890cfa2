#!/usr/bin/env bash
#SBATCH --job-name=train
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
# Trains LSeSim under SLURM, past the time limit: from the clone,
#     sbatch scripts/slurm_train.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]
# What is typed between sbatch and the script wins over the lines above. N GPUs are N tasks, on one node or several:
#     sbatch --nodes=2 --gpus-per-node=4 --ntasks-per-node=4 scripts/slurm_train.sh DATAROOT NAME [FLAGS]
# Five minutes before the limit SLURM sends USR1: train.py saves and ends with 75, and the job is queued again. Where the
# experiment has a state, it goes on from that. Without SLURM, bash runs the same training here.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # sh may be another shell
set -euo pipefail
script=slurm_train  # SLURM runs a copy under another name, elsewhere
. "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}/scripts/common.sh"
start datasets/lineart2color "$@"

# The value of a flag: what was typed last, or the default.
value_of() {
    local value=$2 i
    for ((i = 0; i < ${#typed[@]}; i++)); do
        case ${typed[i]} in
            "$1") value=${typed[i + 1]:-} ;;
            "$1="*) value=${typed[i]#*=} ;;
        esac
    done
    printf '%s' "$value"
}

if [ -n "$(value_of --suffix "")" ]; then
    echo "slurm_train.sh: error: --suffix hides the name that a queued job goes on with; type all of it as NAME" >&2
    exit 2
fi
folder="$(value_of --checkpoints_dir checkpoints)/$(value_of --name "${place[3]}")"
[ ! -f "$folder/latest_state.pth" ] || typed+=(--continue_train)

if [ -n "${SLURM_JOB_ID:-}" ]; then
    # Not torchrun, which keeps USR1 from the processes and the 75 from us: each task is a process, and is told its place.
    MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
    SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}  # which srun no longer takes from sbatch, since SLURM 22.05
    export MASTER_ADDR MASTER_PORT SRUN_CPUS_PER_TASK
    # shellcheck disable=SC2016 - each task knows its own numbers
    before=(srun bash -c 'export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS; exec "$@"' task)
fi
how=say
train --model sc --learned_attn --augment -- --attn_layers relu3_1
code=0
"${command[@]}" || code=$?
if [ $code = 75 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    exec scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
