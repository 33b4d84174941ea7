"""Label budgets as split files, a table and a picture: which tiles, from which sources, with which classes."""
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from egmim_mm.datasets.label_budget import covered_classes, select_tiles
from egmim_mm.records import whole_file, write_whole
from egmim_mm.records.provenance import git_state, write_json
from egmim_mm.records.tables import print_table

__all__ = ['budget_rows', 'plot_rows', 'print_rows', 'report_budgets', 'split_name']


def report_budgets(dataset: Any, budgets: Sequence[str], seeds: Sequence[int], out_dir: str | Path,
                   strategy: str = 'class_covering', unit: str = 'tile') -> list[dict[str, Any]]:
    """Write ``<budget>_seed<N>.txt`` for each budget and seed, ``budgets.json`` and ``budgets.png``.

    A split file has one tile name per line in the order of choice: give it as ``ann_file`` of the data set, with a
    budget of 1.0, or commit it.

    Args:
        dataset: ``SegmentationTiles`` or what has ``tile_names``, ``sources``, ``class_pixels()`` and ``metainfo``.
        budgets: See :func:`~egmim_mm.datasets.label_budget.budget_count`.
        seeds: Seeds of the choice.
        out_dir: Folder of the files.
        strategy, unit: See :func:`~egmim_mm.datasets.label_budget.select_tiles`.

    Returns:
        One row for each budget and seed; see :func:`budget_rows`.

    Raises:
        ValueError: A bad budget, strategy or unit.
    """
    out_dir = Path(out_dir)
    rows = budget_rows(dataset, budgets, seeds, strategy, unit)
    for row in rows:
        write_whole(out_dir / split_name(row['budget'], row['seed']), '\n'.join(row['tiles']) + '\n')
    write_json(out_dir / 'budgets.json', dict(rows=rows, strategy=strategy, unit=unit, tiles=len(dataset.tile_names),
                                              git=git_state()))
    plot_rows(rows, out_dir / 'budgets.png')
    return rows


def budget_rows(dataset: Any, budgets: Sequence[str], seeds: Sequence[int], strategy: str = 'class_covering',
                unit: str = 'tile') -> list[dict[str, Any]]:
    """What each budget of each seed holds.

    Returns:
        Dicts of ``budget``, ``seed``, ``tiles`` (names), ``sources`` (names, empty if the data has none), ``shares``
        (class -> share of the labelled pixels, in [0, 1]), ``covered`` and ``missing`` (classes that the data has and
        these tiles cover or do not cover).
    """
    names, pixels, sources = list(dataset.tile_names), dataset.class_pixels(), dataset.sources
    classes = list(dataset.metainfo['classes'])
    held, place, rows = covered_classes(pixels), {name: i for i, name in enumerate(names)}, []
    for budget in budgets:
        for seed in seeds:
            tiles = select_tiles(names, pixels, budget, seed, strategy, sources, unit)
            members = [place[name] for name in tiles]
            counts, there = pixels[members].sum(axis=0), held[members].any(axis=0)
            rows.append(dict(
                budget=str(budget), seed=seed, tiles=tiles,
                sources=sorted({sources[i] for i in members}) if sources else [],
                shares={c: float(n) / max(int(counts.sum()), 1) for c, n in zip(classes, counts)},
                covered=[c for c, yes in zip(classes, there) if yes],
                missing=[c for c, yes, any_tile in zip(classes, there, held.any(axis=0)) if any_tile and not yes]))
    return rows


def split_name(budget: str, seed: int) -> str:
    """'5%', 0 -> '5pct_seed0.txt'."""
    return f"{re.sub(r'[^0-9.a-z]', '', str(budget).replace('%', 'pct'))}_seed{seed}.txt"


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a line for each budget and seed; classes that no tile covers are named."""
    classes = list(rows[0]['shares'])
    cells = [(row['budget'], row['seed'], len(row['tiles']), len(row['sources']) or '-',
              *(f'{100 * row["shares"][c]:.1f}' for c in classes), ', '.join(row['missing']) or 'none') for row in rows]
    print_table(('budget', 'seed', 'tiles', 'sources', *classes, 'not covered'), (), cells,
                title='share of labelled pixels, %')


def plot_rows(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Bars of the class shares, one for each budget and seed, as a PNG file."""
    classes = list(rows[0]['shares'])
    labels = [f"{row['budget']}, seed {row['seed']}: {len(row['tiles'])}" for row in rows]
    figure = Figure((8, 1.2 + 0.28 * len(rows) + 0.2 * (len(classes) // 4)), layout='constrained')
    FigureCanvasAgg(figure)
    axes, left = figure.add_subplot(), np.zeros(len(rows))
    for name in classes:
        widths = np.array([100 * row['shares'][name] for row in rows])
        axes.barh(labels, widths, left=left, label=name)
        left += widths
    axes.invert_yaxis()
    axes.set(xlabel='share of labelled pixels, %', xlim=(0, 100))
    figure.legend(loc='outside lower center', ncols=min(4, len(classes)), fontsize='small')
    with whole_file(path) as draft:
        figure.savefig(draft, dpi=120)
