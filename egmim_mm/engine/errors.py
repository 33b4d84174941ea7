"""How a tool ends: one line for mistakes of the user and for Ctrl-C, a traceback for ours."""
import errno
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from egmim_mm.checkpoints import CheckpointError
from egmim_mm.checks import LaunchError
from egmim_mm.environment import EnvironmentProblem
from egmim_mm.storage.tile_reading import TileReadError

from .interruption import one_line_when_interrupted

# a path that is not to be written or read, or a disk that is full
_OF_A_PATH = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENOSPC, errno.EDQUOT}


@contextmanager
def user_errors(interrupted: str = 'Interrupted') -> Iterator[None]:
    """End a tool with one line, ``Error: ...``, for mistakes in a command, a config or the data.

    These are our own error types, missing files and packages, and every ValueError or TypeError that this package
    raises about its arguments; its messages say what to do. So do paths that cannot be written. Anything else is a
    fault of the program and keeps its traceback. SIGINT (Ctrl-C) and SIGTERM end with a line too, and with status 130.
    Where several processes were started together, ``EGMIM_ERROR_FILE`` names a file for the line, which the launch
    scripts print last.

    Args:
        interrupted: The line of Ctrl-C.
    """
    with one_line_when_interrupted(interrupted):
        try:
            yield
        except (LaunchError, CheckpointError, TileReadError, EnvironmentProblem, FileNotFoundError, FileExistsError,
                FloatingPointError) as error:
            _end(_last_message(error))
        except OSError as error:
            if error.errno not in _OF_A_PATH or error.filename is None:
                raise
            _end(f'{error.filename}: {error.strerror}')
        except (ValueError, TypeError) as error:
            *_, last = traceback.walk_tb(error.__traceback__)
            if not Path(last[0].f_code.co_filename).is_relative_to(Path(__file__).parents[1]):
                raise
            _end(str(error))


def _end(message: str) -> None:
    """Exit with the line, or leave it to the script that started this and other processes: the first one counts."""
    report = os.environ.get('EGMIM_ERROR_FILE')
    if not report:
        sys.exit(f'Error: {message}')
    with suppress(FileExistsError), open(report, 'x', encoding='utf-8') as file:
        file.write(f'Error: {message}')
    sys.exit(1)


def _last_message(error: Exception) -> str:
    # a loader's worker puts its whole traceback before the message
    return str(error).rsplit(f'{type(error).__name__}: ', 1)[-1].rstrip()
