"""A measurement in a process of its own: its peak of memory is its own, and so are its threads.

``python -m egmim_mm.benchmark.child MODULE:FUNCTION ANSWER THREADS`` reads the argument of the function from standard
input, as JSON, and writes what it returns to the file ANSWER.
"""
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from egmim_mm.environment import quiet_imports

__all__ = ['ChildFailed', 'run_in_child', 'say_now']


class ChildFailed(RuntimeError):
    """A measurement ended with an error; the message is its last line and names its log file."""


def run_in_child(function: str, argument: Any, threads: int, device: torch.device, log: str | Path) -> Any:
    """Call a function of this package in a fresh process.

    Args:
        function: 'egmim_mm.benchmark.training:measure'.
        argument: Its only argument, of JSON's types.
        threads: CPU threads of the process.
        device: What the process finds: no GPU, or this one alone, as its 'cuda'.
        log: File of what it prints.

    Returns:
        What the function returns, of JSON's types.

    Raises:
        ChildFailed: It ended with an error.
    """
    log = Path(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    count = str(threads)
    environment = dict(os.environ, OMP_NUM_THREADS=count, MKL_NUM_THREADS=count, PYTHONUNBUFFERED='1',
                       CUDA_VISIBLE_DEVICES=_visible(device))
    with tempfile.TemporaryDirectory() as folder, log.open('w') as output:
        answer = Path(folder, 'answer.json')
        process = subprocess.Popen([sys.executable, '-m', __name__, function, str(answer), count], text=True,
                                   stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=environment,
                                   start_new_session=True)
        try:
            process.communicate(json.dumps(argument))
        finally:
            _end_all(process)
        if process.returncode == 0:
            return json.loads(answer.read_text())
    lines = log.read_text(errors='replace').strip().splitlines() or [f'status {process.returncode}']
    raise ChildFailed(f'{lines[-1]} (all of it: {log})')


def say_now(line: str) -> None:
    """Print a line of progress, also into a pipe, at once."""
    print(line, flush=True)


def _end_all(process: subprocess.Popen) -> None:
    """End the process, if it still runs, and the workers of its loader, which can outlive it for ever."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _visible(device: torch.device) -> str:
    if device.type != 'cuda':
        return ''
    visible, index = os.environ.get('CUDA_VISIBLE_DEVICES'), device.index or 0
    return visible.split(',')[index] if visible else str(index)


def _main(function: str, answer: str, threads: str) -> None:
    quiet_imports()
    torch.set_num_threads(int(threads))
    module, _, name = function.partition(':')
    result = getattr(importlib.import_module(module), name)(json.load(sys.stdin))
    Path(answer).write_text(json.dumps(result))
    sys.stdout.flush()
    os._exit(0)  # whoever asked ends the workers of a loader; to wait for them takes seconds


if __name__ == '__main__':
    _main(*sys.argv[1:])
