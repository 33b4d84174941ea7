"""Ctrl-C, and the SIGTERM of a cluster: a tool ends with one line that says how to go on."""
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmengine.dist import is_main_process

from egmim_mm.checkpoints import newest_checkpoint
from egmim_mm.processes import INTERRUPTED, SIGNALS

_GRACE_S = 5  # torchrun and the terminal both pass a Ctrl-C on: the second one must not cut the line off
_asked: list[float] = []  # when this process was asked to stop


@contextmanager
def one_line_when_interrupted(line: str) -> Iterator[None]:
    """Exit with status 130 on SIGINT and SIGTERM, whatever error they lead to on the way out.

    Args:
        line: What is printed, unless a KeyboardInterrupt says more, as that of :func:`going_on`.
    """
    process = os.getpid()

    def stop(number: int, frame) -> None:
        if os.getpid() != process:  # a forked worker: what it would do without us
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif not _asked:
            _asked.append(time.monotonic())
            # torch would report at exit that workers of a loader, which were stopped as well, have died
            signal.signal(signal.SIGCHLD, lambda number, frame: None)
            raise KeyboardInterrupt
        elif time.monotonic() - _asked[0] > _GRACE_S:
            os._exit(INTERRUPTED)

    in_main_thread = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, stop) for number in SIGNALS if in_main_thread}
    try:
        yield
    except BaseException as error:
        if not _stopped(error):
            raise
        if is_main_process():
            said = str(error) if isinstance(error, KeyboardInterrupt) else ''
            print(said or line, file=sys.stderr, flush=True)
        raise SystemExit(INTERRUPTED) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked.clear()


@contextmanager
def going_on(folder: Path) -> Iterator[None]:
    """When a training is interrupted, name its last checkpoint and the command that resumes it.

    Args:
        folder: Where it saves its checkpoints.

    Raises:
        KeyboardInterrupt: With that line.
    """
    try:
        yield
    except BaseException as error:
        if not _stopped(error):
            raise
        last = newest_checkpoint(folder)
        raise KeyboardInterrupt(
            f'Interrupted. Last checkpoint: {last}; go on with: {resume_command(sys.argv)}' if last else
            'Interrupted before the first checkpoint: start again with the same command') from None


def _stopped(error: BaseException) -> bool:
    # a worker or another process that was stopped as well shows here as an error of any kind, and may be first
    if not _asked and 'DataLoader worker' in str(error):
        with suppress(KeyboardInterrupt):
            time.sleep(1)
    return bool(_asked) or isinstance(error, KeyboardInterrupt)


def resume_command(argv: list[str]) -> str:
    """The command line of ``tools/train.py`` as it goes on with its run: ``--resume`` instead of ``--backbone``."""
    if '--launcher' in argv:
        return 'the command it began with, --resume in place of --backbone'
    kept: list[str] = []
    left_out = 0
    for word in argv:
        option = word.partition('=')[0]
        if option.startswith('--b') and '--backbone'.startswith(option):
            left_out = '=' not in word
        elif option.startswith('--r') and '--resume'.startswith(option):
            left_out = '=' not in word
        elif option.startswith('--al') and '--allow-partial'.startswith(option):
            left_out = 0
        elif left_out and not word.startswith('-'):
            left_out = 0
        else:
            left_out = 0
            kept.append(word)
    return shlex.join(['python', *kept, '--resume'])
