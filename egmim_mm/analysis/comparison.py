"""Two models, or two groups of trainings, on the same test images: table, JSON, plot and the images that differ."""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from egmim_mm.evaluation.paired import PairedScores, paired_bootstrap, scores_of
from egmim_mm.records.provenance import git_state, package_versions, write_json
from egmim_mm.records.tables import print_table

from .differing_images import differing_images
from .paired_runs import PRETRAINING, Run, check_pair, overlaps_of, read_runs

__all__ = ['compare_runs', 'plot_comparison', 'print_comparison']

LEVEL = 0.95


def compare_runs(sources: Mapping[str, str], out_dir: str | Path, seeds: Sequence[int] | None = None,
                 draws: int = 2000, seed: int = 0, images: int = 6,
                 pretrainings: Sequence[int] | None = None) -> dict[str, Any]:
    """Compare two models image by image; write ``comparison.json``, ``.png`` and ``differing_images.png``.

    Args:
        sources: Two names -> work dir, or path with ``{seed}``, and perhaps ``{pretraining}``.
        out_dir: Folder of the files.
        seeds: For ``{seed}``; seed s of one model is compared with seed s of the other.
        draws, seed: See :func:`~egmim_mm.evaluation.paired.paired_bootstrap`.
        images: Images on the sheet, at most; 0: no sheet.
        pretrainings: For ``{pretraining}``, with ``seeds``; each seed was trained from each of them.

    Returns:
        What stands in ``comparison.json``: ``scores`` (measure -> ``first``, ``second``, ``difference``, ``interval``,
        ``per_seed``, and these of ``classes``; per cent), ``images`` (name -> difference of its mIoU, mean over seeds),
        ``bootstrap`` (how the intervals came about), ``notes`` (what to mind), ``sheet`` (None: not drawn).

    Raises:
        FileNotFoundError, ValueError: As :func:`~.paired_runs.read_runs` and :func:`~.paired_runs.check_pair`.
    """
    if len(sources) != 2:
        raise ValueError(f'two models are compared, not {len(sources)}: give A and B')
    if pretrainings and not any(PRETRAINING in source for source in sources.values()):
        raise ValueError(f'--pretraining-seeds is given: write {PRETRAINING} where the number stands in a path')
    groups = [read_runs(source, seeds, pretrainings) for source in sources.values()]
    reference = groups[0][0]
    for run in [*groups[0][1:], *groups[1]]:
        check_pair(reference, run)
    names, classes = reference.names, reference.classes
    counted = [overlaps_of(runs, names) for runs in groups]
    scores = {key: paired_bootstrap(counted[0][key], counted[1][key], draws, seed, LEVEL,
                                    len(pretrainings or [0]))
              for key in counted[0] if key in counted[1]}
    gains = [scores_of(one['mIoU'])[..., 0] for one in counted]  # (S, N)
    gain = np.mean(gains[1] - gains[0], axis=0)
    out_dir, notes = Path(out_dir), _notes(groups, len(groups[0]) // len(pretrainings or [0]))
    sheet, problem = differing_images(
        dict(zip(sources, (runs[0] for runs in groups))), dict(zip(names, gain.tolist())), images,
        out_dir / 'differing_images.png') if images else (None, None)
    if problem:
        notes.append(f'no sheet of the images that differ: {problem}')
    over = 'seeds and images' if len(groups[0]) > 1 else 'images'
    if pretrainings:
        over = f'pretrainings, {over}'
    document = dict(
        models=dict(sources), seeds=list(seeds) if seeds else None,
        pretraining_seeds=list(pretrainings) if pretrainings else None, classes=classes,
        scores={key: _plain(values, classes) for key, values in scores.items()},
        images=dict(zip(names, gain.tolist())),
        bootstrap=dict(level=LEVEL, method=f'percentile bootstrap over {over}', draws=draws, seed=seed,
                       seeds=len(groups[0]), images=len(names)),
        units='per cent; differences: second less first', notes=notes, sheet=str(sheet) if sheet else None,
        versions=package_versions(), git=git_state())
    write_json(out_dir / 'comparison.json', document)
    plot_comparison(document, out_dir / 'comparison.png')
    return document


def _notes(groups: Sequence[Sequence[Run]], seeds: int) -> list[str]:
    notes = []
    if len(groups[0]) == 1:
        notes.append('one run of each: the intervals are over images alone and hold nothing of the noise between '
                     'trainings; several seeds: --seeds')
    elif seeds < 5:
        notes.append(f'{seeds} seeds: with fewer than five the intervals are too narrow')
    for first, second in zip(*groups):
        if first.tiles != second.tiles:
            notes.append(f'{first.work_dir} and {second.work_dir} were trained on different labelled tiles: the '
                         'difference is also that of the labels')
    return notes


def _plain(scores: PairedScores, classes: Sequence[str]) -> dict[str, Any]:
    def row(index: int) -> dict[str, Any]:
        return dict(first=scores.first[index], second=scores.second[index], difference=scores.difference[index],
                    interval=[scores.low[index], scores.high[index]], per_seed=scores.per_seed[:, index].tolist())

    return row(0) | dict(classes={name: row(index) for index, name in enumerate(classes, 1)})


def print_comparison(document: Mapping[str, Any]) -> None:
    """A row for each measure, then one for each class; the notes below."""
    def cells(name: str, row: Mapping[str, Any]) -> tuple:
        low, high = row['interval']
        seeds = ' '.join(f'{value:+.1f}' for value in row['per_seed']) if len(row['per_seed']) > 1 else ''
        return (name, f'{row["first"]:.1f}', f'{row["second"]:.1f}', f'{row["difference"]:+.2f}',
                f'{low:+.2f} to {high:+.2f}', seeds)

    first, second = document['models']
    rows: list = [cells(key, row) for key, row in document['scores'].items()]
    rows += [None, *(cells(f'IoU {name}', row) for name, row in document['scores']['mIoU']['classes'].items())]
    how = document['bootstrap']
    print_table(('%', ), (first, second, 'difference', '95 % interval', 'each seed'), rows,
                title=f'{second} less {first}, {how["images"]} images, seeds: {how["seeds"]}')
    print(f'Intervals: {how["method"]}, {how["draws"]} resamples, seed {how["seed"]}')
    for note in document['notes']:
        print(f'Note: {note}')


def plot_comparison(document: Mapping[str, Any], path: Path) -> None:
    """Differences: of each measure and class with their intervals, and of each image in ascending order."""
    figure = Figure((11, 4.4), layout='constrained')
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    rows = dict(document['scores']) | {f'IoU {name}': row for name, row in
                                       document['scores']['mIoU']['classes'].items()}
    values = np.array([[row['difference'], *row['interval']] for row in rows.values()], dtype=float)
    places = np.arange(len(rows))[::-1]
    left.errorbar(values[:, 0], places, xerr=[values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]], fmt='o',
                  capsize=3)
    left.set_yticks(places, list(rows))
    left.axvline(0, color='0.5', lw=1)
    first, second = document['models']
    left.set(xlabel=f'{second} less {first} (points), 95 % interval')
    gain = np.sort([value for value in document['images'].values() if np.isfinite(value)])
    right.bar(np.arange(len(gain)), gain, width=1.0)
    right.set(xlabel='test images, in ascending order', ylabel='difference of the mIoU of an image (points)',
              title=f'{int((gain > 0).sum())} of {len(gain)} images are better')
    for axes in (left, right):
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
