"""Pseudo-labels of second stages over their training: table, JSON and curves."""
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from mmengine.config import Config
from rich.progress import track

from egmim_mm.colors import PLOT_LINES
from egmim_mm.datasets.plain_tiles import build_training_data, without_augmentation
from egmim_mm.records import whole_file
from egmim_mm.records.provenance import device_description, git_state, package_versions, write_json
from egmim_mm.records.tables import print_table
from egmim_mm.storage.mask_values import read_mask

from .pseudo_label_quality import NEAR, label_tile, pseudo_label_counts, pseudo_label_scores, training_crop
from .pseudo_label_runs import check_second_stage, load_saved, run_folders, saved_checkpoints, unlabelled_tiles
from .readouts import training_precision

__all__ = ['READING', 'print_pseudo_labels', 'report_pseudo_labels']

READING = ('How to read it: where coverage grows and the accuracy of accepted labels holds, unlabelled tiles teach the '
           'truth; where that accuracy falls, the student learns the errors of its teacher.')
PANELS = (('accepted_accuracy', 'right among accepted pseudo-labels, %'), ('coverage', 'accepted pixels, %'),
          ('mIoU', 'mIoU of all labels, %'), ('boundary_accuracy', f'right within {NEAR} px of a boundary, %'))
Rows = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]


def report_pseudo_labels(cfg: Config, sources: Mapping[str, str], out_dir: str | Path,
                         seeds: Sequence[int] | None = None, tiles: int | None = None,
                         device: str = 'cpu') -> dict[str, Any]:
    """Label the unlabelled training tiles with each checkpoint; write ``pseudo_labels.json`` and ``.png``.

    Args:
        cfg: Config of a second stage whose training tiles have masks.
        sources: Name -> work dir or checkpoint; with ``{seed}``: one for each of ``seeds``.
        out_dir: Folder of the files.
        seeds: See above.
        tiles: So many of the tiles, spread evenly; None: all.
        device: Where to compute.

    Returns:
        What stands in the JSON file: ``runs`` (name -> work dir -> a row for each checkpoint: ``iteration``,
        ``thresholds`` (class -> least probability), ``teacher`` and ``student``, each the scores of
        :func:`~.pseudo_label_quality.pseudo_label_scores`; the student's ``accepted_accuracy`` is that of its own
        labels where the teacher's are accepted), ``tiles`` (names), ``unlabelled`` (how many there are), the settings.

    Raises:
        ValueError, CheckpointError: As :func:`~.pseudo_label_runs.load_saved`,
            :func:`~.pseudo_label_runs.unlabelled_tiles` and :func:`~.pseudo_label_runs.run_folders`.
    """
    name = Path(cfg.filename or 'the config').name
    check_second_stage(cfg.model, cfg, f'{name} is a config')
    if not (cfg.train_dataloader.get('sampler') or {}).get('use_rest', True):
        raise ValueError(f'{name} has sampler.use_rest=False: none of its tiles is unlabelled, so none with a mask is '
                         'there to judge pseudo-labels by')
    checkpoints = {key: {run: saved_checkpoints(run) for run in run_folders(source, seeds)}
                   for key, source in sources.items()}
    data = build_training_data(cfg)
    first = [files[0] for runs in checkpoints.values() for files in runs.values()]
    used, number = unlabelled_tiles(data, {path: load_saved(path, cfg).training for path in first}, tiles, name)
    classes, crop = list(data.metainfo['classes']), training_crop(cfg)
    rows = {key: {str(run): [_row(path, cfg, data, used, crop, device) for path in files]
                  for run, files in runs.items()} for key, runs in checkpoints.items()}
    document = dict(
        runs=rows, tiles=[data.tile_names[place] for place in used], unlabelled=number, classes=classes, crop=crop,
        near=NEAR, units='per cent; crop and near in px', config=cfg.filename, versions=package_versions(),
        git=git_state(), device=device_description(torch.device(device)))
    write_json(Path(out_dir, 'pseudo_labels.json'), document)
    plot_pseudo_labels(rows, Path(out_dir, 'pseudo_labels.png'), _tiles(document))
    return document


def _row(path: Path, cfg: Config, data: Any, used: Sequence[int], crop: int, device: str) -> dict[str, Any]:
    saved, classes = load_saved(path, cfg), list(data.metainfo['classes'])
    model, plain = saved.model.to(device), without_augmentation(data)
    counts = np.zeros((2, 2, len(classes), 2, len(classes)), np.int64)
    with training_precision(cfg, device)():
        for place in track(used, f'{path.parent.name}/{path.name}', transient=True):
            tile = plain[place]
            labels, accepted, student = label_tile(model, tile['img'], crop)
            full = tile.get('full_seg_map_path')
            full = read_mask(full, tile['mask_table']) if full else None
            for number, found in enumerate((labels, student)):
                counts[number] += pseudo_label_counts(found, accepted, tile['gt_seg_map'], len(classes), full)
    least = model.class_thresholds
    thresholds = [model.threshold] * len(classes) if least is None else least().tolist()
    teacher, student = (pseudo_label_scores(one, classes) for one in counts)
    return dict(iteration=saved.iteration, checkpoint=str(path), thresholds=dict(zip(classes, thresholds)),
                teacher=teacher, student=student)


def _curves(runs: Mapping[str, Sequence[Mapping[str, Any]]], network: str, key: str) -> Iterator[tuple[list, list]]:
    """Iterations and values: the mean over runs first, of the iterations that all have, then each of several runs."""
    each = [{row['iteration']: row[network][key] for row in rows} for rows in runs.values()]
    common = sorted(set.intersection(*map(set, each)))
    yield common, [float(np.mean([one[place] for one in each])) for place in common]
    if len(each) > 1:
        yield from (([*one], [*one.values()]) for one in each)


def print_pseudo_labels(document: Mapping[str, Any]) -> None:
    """A line for each run and iteration, means over seeds; then how to read it."""
    cells: list = []
    for name, runs in document['runs'].items():
        curves = [next(_curves(runs, network, key)) for network, key in (
            ('teacher', 'accepted_accuracy'), ('teacher', 'coverage'), ('teacher', 'accuracy'), ('teacher', 'mIoU'),
            ('student', 'mIoU'), ('teacher', 'boundary_accuracy'), ('teacher', 'boundary_accepted_accuracy'))]
        cells += [(name, iteration, *(f'{values[place]:.1f}' for _, values in curves))
                  for place, iteration in enumerate(curves[0][0])] + [None]
    print_table(('run', 'iteration'), ('accepted right', 'coverage', 'all right', 'mIoU', 'mIoU of the student',
                                       f'right within {NEAR} px', 'accepted right there'), cells[:-1],
                title=f'Pseudo-labels of the teacher on {_tiles(document)}, %')
    print(READING)


def _tiles(document: Mapping[str, Any]) -> str:
    some, every = len(document['tiles']), document['unlabelled']
    return f'{every} unlabelled training tiles' if some == every else f'{some} of {every} unlabelled training tiles'


def plot_pseudo_labels(rows: Rows, path: Path, tiles: str) -> None:
    """Four scores over the iterations: a colour and marker for each run, thin lines for its seeds."""
    figure = Figure((10, 7), dpi=110, layout='constrained')
    FigureCanvasAgg(figure)
    for axes, (key, title) in zip(figure.subplots(2, 2, sharex=True).flat, PANELS):
        for number, (name, runs) in enumerate(rows.items()):
            style = dict(color=PLOT_LINES[number % len(PLOT_LINES)], marker='osD^vPX'[number % 7])
            _draw(axes, _curves(runs, 'teacher', key), '-', label=name, **style)
            if key in ('mIoU', 'boundary_accuracy'):
                _draw(axes, _curves(runs, 'student', key), '--', markerfacecolor='white', **style)
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    for axes in figure.axes[2:]:
        axes.set_xlabel('iteration')
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    for line, label in (('-', 'teacher'), ('--', 'student')):
        handles.append(Line2D([], [], color='0.4', ls=line))
        labels.append(label)
    figure.legend(handles, labels, loc='outside lower center', ncols=5, frameon=False, fontsize=9)
    figure.suptitle(f'Pseudo-labels on {tiles}', fontsize=11)
    with whole_file(path) as draft:
        figure.savefig(draft)


def _draw(axes: Axes, curves: Iterator[tuple[list, list]], line: str, color: str, marker: str, **options: Any) -> None:
    axes.plot(*next(curves), ls=line, color=color, marker=marker, ms=4, lw=1.6, **options)
    for places, values in curves:
        axes.plot(places, values, ls=line, color=color, lw=0.6, alpha=0.4)
