"""Read-outs of several starts at several label budgets: table, JSON and curves."""
import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.config import Config

from egmim_mm.evaluation.protocol import evaluated_part
from egmim_mm.records import whole_file
from egmim_mm.records.provenance import git_state, package_versions, write_json
from egmim_mm.records.tables import print_table

from .readouts import Choice, read_out

__all__ = ['budget_choices', 'print_readouts', 'report_readouts', 'split_choices']

MEASURES = ('mIoU', 'boundary_mIoU_3px')
Rows = Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]


def budget_choices(budgets: Sequence[str], label_seeds: Sequence[int]) -> list[Choice]:
    """A choice for each budget and label seed.

    Raises:
        ValueError: A budget or label seed given twice.
    """
    for option, values in (('--budgets', budgets), ('--label-seeds', label_seeds)):
        if len(set(values)) < len(values):
            raise ValueError(f'{option} {" ".join(map(str, values))}: each one once')
    return [Choice(budget, seed) for budget in budgets for seed in label_seeds]


def split_choices(paths: Sequence[str | Path]) -> list[Choice]:
    """A choice for each file of tile names, a name on each line, as ``tools/label_budget.py`` writes them.

    Args:
        paths: Files ``<what>_seed<N>.txt``; ``<what>`` takes the place of a budget.

    Raises:
        ValueError: A file of another name, or of none.
        FileNotFoundError: There is no such file.
    """
    choices = []
    for path in map(Path, paths):
        named = re.fullmatch(r'(.+)_seed(\d+)\.txt', path.name)
        names = tuple(path.read_text().split())
        if named is None or not names:
            raise ValueError(f'{path}: --splits takes files <what>_seed<N>.txt with a tile name on each line')
        choices.append(Choice(named[1], int(named[2]), names))
    return choices


def report_readouts(cfg: Config, sources: Mapping[str, str], out_dir: str | Path, choices: Sequence[Choice],
                    seed: int = 0, device: str = 'cpu') -> dict[str, dict[str, list]]:
    """Read out each source for each choice of tiles; write ``readouts.json`` and ``readouts.png``.

    Sources that ``readouts.json`` of the folder has beside these stay in it, in the table and in the picture.

    Args:
        cfg, seed, device: See :func:`~.readouts.read_out`.
        sources: Name -> checkpoint, work dir or ``'scratch'``; the name is also the folder of its results.
        out_dir: Folder of the files.
        choices: See :func:`budget_choices` and :func:`split_choices`.

    Returns:
        Name -> budget -> metrics of each label seed, in the order of the choices.

    Raises:
        ValueError: As :func:`~.readouts.read_out`; the folder has other sources, of another config, part, seed or other
            choices.
    """
    settings = dict(config=cfg.filename, choices=[choice.folder for choice in choices], seed=seed,
                    part=evaluated_part(cfg, 'test'))
    rows, known = _others(Path(out_dir, 'readouts.json'), sources, settings)
    for name, source in sources.items():
        rows[name] = {}
        for choice, metrics in read_out(cfg, source, choices, Path(out_dir, name), seed, device).items():
            rows[name].setdefault(choice.budget, []).append(metrics)
    write_json(Path(out_dir, 'readouts.json'), dict(
        rows=rows, sources={**known, **sources}, **settings, units='per cent, but kappa', versions=package_versions(),
        git=git_state()))
    plot_readouts(rows, Path(out_dir, 'readouts.png'))
    return rows


def _others(path: Path, sources: Mapping[str, str],
            settings: Mapping[str, Any]) -> tuple[dict[str, dict[str, list]], dict[str, str]]:
    """Rows and sources of a file, without those of ``sources``."""
    if not path.is_file():
        return {}, {}
    before = json.loads(path.read_text())
    names = [name for name in before['rows'] if name not in sources]
    other = next((key for key, value in settings.items() if before.get(key) != value), None)
    if names and other:
        raise ValueError(f'{path} holds {", ".join(names)} with another {other}: give another --out, or the same '
                         f'{other} ({before.get(other)})')
    return {name: before['rows'][name] for name in names}, {name: before['sources'][name] for name in names}


def _summary(metrics: Sequence[Mapping[str, float]], key: str) -> tuple[float, float]:
    """Mean and standard deviation over label seeds; NaN where there is none."""
    values = [one.get(key, math.nan) for one in metrics]
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def print_readouts(rows: Rows, part: str) -> None:
    """Print for each start and budget the means over label seeds, and the mIoU of each of them."""
    cells: list = []
    for budget in next(iter(rows.values())):
        for name, readings in rows.items():
            summaries = [_summary(readings[budget], key) for key in MEASURES]
            cells.append((budget, name, *(f'{mean:.1f} ± {spread:.1f}' for mean, spread in summaries),
                          ' '.join(f'{one["mIoU"]:.1f}' for one in readings[budget])))
        cells.append(None)
    print_table(('budget', 'start'), ('mIoU', 'boundary IoU 3 px', 'mIoU of each label seed'), cells[:-1],
                title=f'Read-out at label budgets, % on the {part} images; ± standard deviation over label seeds')


def plot_readouts(rows: Rows, path: Path) -> None:
    """mIoU over budgets: a line of means for each start, its label seeds as points."""
    figure = Figure((6.4, 3.8), dpi=120, layout='constrained')
    FigureCanvasAgg(figure)
    axes, budgets = figure.add_subplot(), list(next(iter(rows.values())))
    for number, (name, readings) in enumerate(rows.items()):
        shift = 0.05 * (number - (len(rows) - 1) / 2)  # so that points of several starts stay apart
        places = [place + shift for place in range(len(budgets))]
        line, = axes.plot(places, [_summary(readings[budget], 'mIoU')[0] for budget in budgets], 'o-', lw=1.5,
                          label=name)
        for place, budget in zip(places, budgets):
            axes.plot([place] * len(readings[budget]), [one['mIoU'] for one in readings[budget]], '.', ms=4, alpha=0.5,
                      color=line.get_color())
    axes.set_xticks(range(len(budgets)), budgets)
    axes.set(xlabel='label budget (tiles)', ylabel='mIoU, %')
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc='upper left', bbox_to_anchor=(1, 1))
    with whole_file(path) as draft:
        figure.savefig(draft)
