"""What a process knows of itself before anything is imported: its place in its run, and how it ends when it is stopped.
"""
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ['INTERRUPTED', 'SIGNALS', 'end_at_once_when_stopped', 'end_silently_when_stopped', 'rank_and_size',
           'starting_workers']

INTERRUPTED = 130  # the exit status: what a shell reports after Ctrl-C
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_RANK_AND_SIZE = dict(pytorch=('RANK', 'WORLD_SIZE'), slurm=('SLURM_PROCID', 'SLURM_NTASKS'),
                      mpi=('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'))


def rank_and_size(launcher: str) -> tuple[int, int]:
    """Number of this process and number of all, as the launcher (MMEngine's names) put them into the environment."""
    if launcher == 'none':
        return 0, 1
    rank, size = _RANK_AND_SIZE[launcher]
    return int(os.environ.get(rank, 0)), int(os.environ.get(size, 1))


def end_at_once_when_stopped() -> None:
    """End with one line and status 130 on SIGINT (Ctrl-C) and SIGTERM, while a tool imports and nothing can be lost.

    An exception would come out of the imports as a traceback, or as another error that a library makes of it. Later
    ``egmim_mm.engine.errors.user_errors`` takes over. Processes that a tool has started import it again, and threads
    take no signals: nothing is changed there.
    """
    if multiprocessing.parent_process() is None and threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _end)


def _end(number: int, frame) -> None:
    if all(os.environ.get(rank, '0') == '0' for rank, _ in _RANK_AND_SIZE.values()):
        os.write(2, b'Interrupted\n')  # print may be what was interrupted
    os._exit(INTERRUPTED)


@contextmanager
def starting_workers() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back while worker processes are started, which begin with this state.

    Each calls :func:`end_silently_when_stopped` when it is ready, as the initializer of a pool does.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_silently_when_stopped() -> None:
    """Leave a Ctrl-C to the process that started this worker, which ends it; a second one and SIGTERM end it at once.

    A pool whose workers die while it is being stopped prints a traceback of its own.
    """
    signal.signal(signal.SIGINT, lambda *_: signal.signal(signal.SIGINT, signal.SIG_DFL))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
