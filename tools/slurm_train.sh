#!/usr/bin/env bash
# Trains on a Slurm cluster.
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/train.py]
# Environment: GPUS (default 8), GPUS_PER_NODE (default 8), CPUS_PER_TASK (default 5), SRUN_ARGS (extra
# arguments of srun), PYTHON (default: .venv of this repository if there is one, else python).
set -euo pipefail

if [ $# -lt 4 ]; then
  echo "usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/train.py]" >&2
  exit 2
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
WORK_DIR=$4
shift 4

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ -z "${PYTHON:-}" ]; then
  PYTHON=python
  if [ -x "$TOOLS/../.venv/bin/python" ]; then
    PYTHON=$TOOLS/../.venv/bin/python
  fi
fi
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
if [ "$GPUS_PER_NODE" -gt "$GPUS" ]; then
  GPUS_PER_NODE=$GPUS
fi

export PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}"
# srun reports every task that ends; the line that says why comes last. The work dir is one that all nodes see.
mkdir -p "$WORK_DIR"
export EGMIM_ERROR_FILE=$WORK_DIR/.error_$$
CODE=0
SRUN=
STOPPED=
# srun hands SIGTERM on to its tasks. It runs in the background, as bash would take a signal only after its end.
stop() {
  STOPPED=$1
  if [ -n "$SRUN" ]; then kill -TERM "$SRUN" 2>/dev/null || true; fi
}
trap 'stop 130' INT
trap 'stop 143' TERM
# SRUN_ARGS is left unquoted: it holds several arguments.
srun -p "$PARTITION" \
  --job-name="$JOB_NAME" \
  --gres="gpu:$GPUS_PER_NODE" \
  --ntasks="$GPUS" \
  --ntasks-per-node="$GPUS_PER_NODE" \
  --cpus-per-task="${CPUS_PER_TASK:-5}" \
  --kill-on-bad-exit=1 \
  ${SRUN_ARGS:-} \
  "$PYTHON" -u "$TOOLS/train.py" "$CONFIG" --work-dir "$WORK_DIR" --launcher slurm "$@" &
SRUN=$!
if [ -n "$STOPPED" ]; then stop "$STOPPED"; fi
wait "$SRUN" || CODE=$?
# a signal ends the waiting, not srun
while kill -0 "$SRUN" 2>/dev/null; do wait "$SRUN" || CODE=$?; done
if [ -e "$EGMIM_ERROR_FILE" ]; then
  cat "$EGMIM_ERROR_FILE" >&2
  echo >&2
  rm "$EGMIM_ERROR_FILE"
fi
exit "${STOPPED:-$CODE}"
