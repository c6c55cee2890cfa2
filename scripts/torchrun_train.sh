#!/usr/bin/env bash
# Trains LSeSim in several processes, one on each GPU of this machine, or of CUDA_VISIBLE_DEVICES;
# PROCESSES=N chooses how many.
# bash scripts/torchrun_train.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]
# On several machines, the same command on each, with its own NODE_RANK from 0:
#     NODES=2 NODE_RANK=0 MASTER=first.machine:29500 bash scripts/torchrun_train.sh DATAROOT NAME [FLAGS]
# All read DATAROOT under one path; the first writes the checkpoints, which all must read to go on: a shared file system.
. "$(dirname "$0")/common.sh"
start datasets/lineart2color "$@"
if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
    gpus=$(tr , '\n' <<< "$CUDA_VISIBLE_DEVICES" | grep -c .) || true
else
    gpus=$(nvidia-smi --list-gpus 2> /dev/null | wc -l) || true
fi
launcher=(-m torch.distributed.run --nproc_per_node="${PROCESSES:-$((gpus > 0 ? gpus : 1))}")
if [ "${NODES:-1}" = 1 ]; then
    launcher+=(--standalone)
else
    launcher+=(--nnodes="$NODES" --node_rank="${NODE_RANK:?number of this machine, from 0}" --rdzv_backend=c10d
        --rdzv_id="${place[3]}" --rdzv_endpoint="${MASTER:?address:port of machine 0}")
fi
train --model sc --learned_attn --augment -- --attn_layers relu3_1
