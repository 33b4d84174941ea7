"""Where tables are printed."""
import sys

from rich.console import Console

__all__ = ['table_console']


def table_console() -> Console:
    """Standard output; in a pipe or a file, which have no width, lines may be 160 characters long."""
    return Console() if sys.stdout.isatty() else Console(width=160)
