"""One run at a time in a work dir."""
import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.logging import print_log

from egmim_mm.checks import LaunchError
from egmim_mm.processes import rank_and_size

LOCK_FILE = 'run.lock'


@contextmanager
def sole_run(work_dir: str | Path, launcher: str = 'none') -> Iterator[None]:
    """Hold a work dir, which is made, for this run; its first process holds it for all.

    The lock is a POSIX record lock on ``run.lock``. It ends with the process however that dies, is not inherited by
    the workers of a loader, which may outlive a killed run for seconds, and works on NFS; the file itself stays.

    Args:
        work_dir: Folder.
        launcher: MMEngine's name of what started the processes.

    Raises:
        LaunchError: Another run holds it.
    """
    if rank_and_size(launcher)[0] != 0:
        yield
        return
    path = Path(work_dir) / LOCK_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'a+') as file:
        _lock(file, path)
        file.truncate(0)
        file.write(f'process {os.getpid()} on {platform.node()}, since {time.strftime("%Y-%m-%d %H:%M:%S")}\n')
        file.flush()
        yield


def _lock(file, path: Path) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows both
        file.seek(0)
        raise LaunchError(f'{path.parent} is in use by another run ({file.read().strip()}): wait until it ends, or '
                          'give another --work-dir') from None
    except OSError as error:
        print_log(f'{path.parent} cannot be locked ({error}): make sure that no other run uses it', logger='current')
