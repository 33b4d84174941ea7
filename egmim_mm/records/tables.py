"""The tables that people read: on the console, in a log, in a Markdown file."""
import io
import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ['make_table', 'print_table', 'table_console', 'table_text']

STYLES = dict(boxed=box.HEAVY_HEAD, simple=box.SIMPLE, markdown=box.MARKDOWN, plain=None)


def make_table(labels: Sequence[str], numbers: Sequence[str], rows: Iterable[Sequence | None],
               title: str | None = None, style: str = 'boxed', footer: Sequence | None = None,
               no_wrap: bool = False) -> Table:
    """A table with columns on the left for names and on the right for numbers.

    Args:
        labels: Heads of the first columns, aligned to the left.
        numbers: Heads of the other columns, aligned to the right.
        rows: Cells of each row; None draws a line.
        title: Above the table.
        style: A key of ``STYLES``.
        footer: Cells of the last row.
        no_wrap: Keep each label on one line.
    """
    table = Table(title=title, box=STYLES[style], show_footer=footer is not None)
    for number, head in enumerate((*labels, *numbers)):
        is_label = number < len(labels)
        table.add_column(head, justify='left' if is_label else 'right', no_wrap=no_wrap and is_label,
                         footer='' if footer is None else str(footer[number]))
    for row in rows:
        if row is None:
            table.add_section()
        else:
            table.add_row(*map(str, row))
    return table


def table_console() -> Console:
    """Standard output; in a pipe or a file, which have no width, lines may be 160 characters long."""
    # a name in brackets is no markup
    return Console(markup=False) if sys.stdout.isatty() else Console(width=160, markup=False)


def print_table(*args, **options) -> None:
    """Print what :func:`make_table` makes of the arguments."""
    table_console().print(make_table(*args, **options))


def table_text(table: Table, width: int = 100) -> str:
    """A table as lines of at most ``width`` characters, without colours and empty lines: for logs and files."""
    text = io.StringIO()
    Console(file=text, width=width, color_system=None, markup=False).print(table)
    return '\n'.join(line.rstrip() for line in text.getvalue().splitlines() if line.strip())
