"""The row of a table of speeds: ours against a named baseline, with the spread over the pairs of one run."""
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from egmim_mm.records.tables import print_table

from .machine import describe_machine

__all__ = ['HEADS', 'Row', 'cells', 'paired_row', 'print_rows', 'read_rows']

HEADS = (('what', 'ours', 'against'), ('unit', 'ours ', 'baseline', 'ours / baseline', 'lowest - highest', 'better'))


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        name: What was measured, with model, size and batch.
        variant: Which of ours.
        against: Name of the baseline; '' if there is none.
        unit: Of ``ours`` and ``baseline``: ``images/s``, ``MiB``, ``%``, ``s``.
        ours: Median, or None where there is none.
        baseline: Median, or None.
        ratio: ours / baseline, median over the pairs, or None.
        low: Smallest ratio of a pair, or None.
        high: Largest ratio of a pair, or None.
        better: ``more`` or ``less``.
        note: What a reader must know to understand the line; lines that share it print it once.
    """

    name: str
    variant: str
    against: str
    unit: str
    ours: float | None = None
    baseline: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    better: str = 'more'
    note: str = ''


def paired_row(name: str, variant: str, against: str, unit: str, ours: Sequence[float], baseline: Sequence[float],
               better: str = 'more', note: str = '') -> Row:
    """A row from measurements that were taken in turn: number i of ours belongs to number i of the baseline.

    Raises:
        ValueError: No pair, different numbers of measurements, or a baseline of 0.
    """
    if len(ours) != len(baseline) or not len(ours):
        raise ValueError(f'{name}: pairs need as many measurements of {variant} as of {against}, at least one: got '
                         f'{len(ours)} and {len(baseline)}')
    if min(baseline) <= 0:
        raise ValueError(f'{name}: {against} was measured as {min(baseline)} {unit}, of which there is no ratio')
    ratios = np.asarray(ours, float) / np.asarray(baseline, float)
    return Row(name, variant, against, unit, float(np.median(ours)), float(np.median(baseline)),
               float(np.median(ratios)), float(ratios.min()), float(ratios.max()), better, note)


def read_rows(documents: Iterable[dict]) -> list[Row]:
    """Rows of a JSON file, which are what :func:`dataclasses.asdict` makes of them."""
    return [Row(**document) for document in documents]


def cells(row: Row) -> tuple[str, ...]:
    """The texts of a row below :data:`HEADS`; '-' for what there is not."""
    values = asdict(row)
    numbers = ['-' if values[key] is None else f'{values[key]:.3g}' if abs(values[key]) < 100 else
               f'{values[key]:.0f}' for key in ('ours', 'baseline')]
    spread = '-' if row.low is None or row.high is None else f'{row.low:.2f} - {row.high:.2f}'
    return (row.name, row.variant, row.against or '-', row.unit, *numbers,
            '-' if row.ratio is None else f'{row.ratio:.2f}', spread, row.better)


def print_rows(rows: Sequence[Row], device: torch.device, threads: int) -> dict[str, Any]:
    """Print the table; returns it for a JSON file, with the machine it was measured on."""
    print_table(*HEADS, [cells(row) for row in rows])
    return dict(rows=[asdict(row) for row in rows], machine=describe_machine(device, threads))
