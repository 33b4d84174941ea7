#!/usr/bin/env python
"""torch.distributed.run for dist_train.sh and dist_test.sh: a run that fails ends with the one line that says why.

torchrun itself reports all processes and its own traceback, forty lines beneath the message. Arguments: torchrun's.
"""
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path

from egmim_mm.processes import end_at_once_when_stopped

end_at_once_when_stopped()  # until torchrun has processes to stop

from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: E402
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: E402
from torch.distributed.run import main as torchrun  # noqa: E402


def describe(failure: ChildFailedError) -> tuple[str, int]:
    """The line for a process that left none of its own, and the exit code."""
    rank, process = failure.get_first_failure()
    if process.exitcode < 0:
        name = signal.Signals(-process.exitcode).name
        memory = ', as the system does when memory runs out' if name == 'SIGKILL' else ''
        return f'Error: process {rank} was ended by {name}{memory}', 128 - process.exitcode
    return f'Error: process {rank} failed; its messages are above', process.exitcode


def main() -> None:
    for part in ('agent.server.api', 'multiprocessing.api', 'multiprocessing.errors'):
        logging.getLogger(f'torch.distributed.elastic.{part}').setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, 'error')
        os.environ['EGMIM_ERROR_FILE'] = str(report)  # where the first process that fails leaves its line
        try:
            torchrun()
        except ChildFailedError as failure:
            line, code = describe(failure)
            print(report.read_text(encoding='utf-8') if report.is_file() else line, file=sys.stderr)
            sys.exit(code)
        except SignalException as stopped:
            sys.exit(128 + stopped.sigval)


if __name__ == '__main__':
    main()
