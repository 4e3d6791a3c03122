#!/usr/bin/env bash
# Copyright (c) The mpm_postometro authors. All rights reserved.
# Train with several processes: one per GPU, or on the CPU where there is none.
#   bash tools/dist_train.sh CONFIG PROCESSES [flags of tools/train.py]
set -euo pipefail
if [ "$#" -lt 2 ]; then
    sed -n 3,4p "$0" | cut -c3- >&2
    exit 2
fi

CONFIG=$1
GPUS=$2
NNODES=${NNODES:-1}
NODE_RANK=${NODE_RANK:-0}
PORT=${PORT:-29500}
MASTER_ADDR=${MASTER_ADDR:-"127.0.0.1"}
PYTHON=${PYTHON:-python}
TOOLS=$(dirname "$0")

PYTHONPATH="$TOOLS/..":${PYTHONPATH:-} \
"$PYTHON" -m torch.distributed.run \
    --nnodes="$NNODES" \
    --node_rank="$NODE_RANK" \
    --master_addr="$MASTER_ADDR" \
    --nproc_per_node="$GPUS" \
    --master_port="$PORT" \
    "$TOOLS/train.py" \
    "$CONFIG" \
    --launcher pytorch "${@:3}"
