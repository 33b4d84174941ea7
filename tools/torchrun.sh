# Sourced by dist_train.sh and dist_test.sh; expects TOOLS, the folder of the scripts.

if [ -z "${PYTHON:-}" ]; then
  PYTHON=python
  if [ -x "$TOOLS/../.venv/bin/python" ]; then
    PYTHON=$TOOLS/../.venv/bin/python
  fi
fi

free_port() {
  "$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# run_distributed PROCESSES SCRIPT [arguments]
run_distributed() {
  local processes=$1
  shift
  if ! [[ $processes =~ ^[1-9][0-9]*$ ]]; then
    echo "the number of GPUs must be a positive integer, got '$processes'" >&2
    return 2
  fi
  local nodes=${NNODES:-1}
  local port=${PORT:-}
  if [ -z "$port" ]; then
    # On one machine a free port lets several runs start side by side; several must agree on one.
    if [ "$nodes" = 1 ]; then port=$(free_port); else port=29500; fi
  fi
  # torchrun would set one thread for each process, and says so at length.
  local threads=$(( $(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1) / processes ))
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(( threads > 0 ? threads : 1 ))}
  # The clone works without being installed.
  export PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}"
  # exec: a signal to the script is one to torchrun, which stops the processes
  exec "$PYTHON" "$TOOLS/torchrun.py" \
    --nnodes="$nodes" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="$port" \
    --nproc_per_node="$processes" "$@"
}
