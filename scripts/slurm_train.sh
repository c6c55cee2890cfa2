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
set -euo pipefail
script=slurm_train  # SLURM runs a copy under another name, elsewhere
. "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}/scripts/common.sh"
start datasets/lineart2color "$@"

checkpoints=checkpoints
for ((i = 0; i < ${#typed[@]}; i++)); do
    [ "${typed[i]}" != --checkpoints_dir ] || checkpoints=${typed[i + 1]:-}
done
[ ! -f "$checkpoints/${place[3]}/latest_state.pth" ] || typed+=(--continue_train)

if [ -n "${SLURM_JOB_ID:-}" ]; then
    # Not torchrun, which keeps USR1 from the processes and the 75 from us: each task is a process, and is told its place.
    MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
    export MASTER_ADDR MASTER_PORT
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
