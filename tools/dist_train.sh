#!/usr/bin/env bash
# Trains on all GPUs of one or several machines, or in several CPU processes where there is no GPU.
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# Environment: NNODES, NODE_RANK, MASTER_ADDR and PORT (several machines: the same PORT on each),
# PYTHON (default: .venv of this repository if there is one, else python), OMP_NUM_THREADS.
set -euo pipefail

if [ $# -lt 2 ]; then
  echo "usage: $0 CONFIG GPUS [arguments of tools/train.py]" >&2
  exit 2
fi
CONFIG=$1
GPUS=$2
shift 2

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$TOOLS/torchrun.sh"
run_distributed "$GPUS" "$TOOLS/train.py" "$CONFIG" --launcher pytorch "$@"
