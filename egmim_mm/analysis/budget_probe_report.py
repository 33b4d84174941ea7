"""Probe backbones at a label budget as a segmentation config describes them; table, JSON and plot."""
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import init_default_scope

from egmim_mm.datasets.label_budget import select_tiles
from egmim_mm.datasets.plain_tiles import LabelledImages
from egmim_mm.evaluation.protocol import evaluated_part
from egmim_mm.inference.frozen_backbone import build_backbone, crop_size, preprocessing
from egmim_mm.records.provenance import git_state, package_versions, write_json
from egmim_mm.records.tables import print_table

from .budget_probe import probe_choices

__all__ = ['print_seeds', 'probe_budget']

Rows = Mapping[str, Mapping[str, Mapping[str, Any]]]


def probe_budget(cfg: Config, sources: Mapping[str, str], out_dir: str | Path, budget: str | int | float,
                 label_seeds: Sequence[int], crop: int | None = None, samples: int = 20_000, seed: int = 0,
                 device: str | None = None) -> dict[str, dict[str, dict[str, Any]]]:
    """Probe each source on the labelled tiles of several label seeds; write ``probe.json`` and ``probe.png``.

    Args:
        cfg: Segmentation config; of its sampler, strategy and unit of the label budget are used.
        sources: Name -> checkpoint, work dir or ``'scratch'``.
        out_dir: Folder of the two files.
        budget: See :func:`~egmim_mm.datasets.label_budget.budget_count`.
        label_seeds: Which tiles are labelled; the same for all sources.
        crop, samples, seed, device: As :func:`~.probe_report.compare_backbones`; samples are of equal classes.

    Returns:
        Name -> label seed as text -> scores.

    Raises:
        ValueError: A budget that cannot be had, a label seed given twice, or tiles without labels.
    """
    seeds = list(label_seeds)
    if len(set(seeds)) < len(seeds):
        raise ValueError(f'--label-seeds {" ".join(map(str, seeds))}: each one once')
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    data = LabelledImages(cfg.train_dataloader.dataset)
    test_set, tiles = LabelledImages(cfg.test_dataloader.dataset), data.dataset
    sampler = cfg.train_dataloader.get('sampler') or {}
    pixels = tiles.class_pixels()
    choices = {str(one): select_tiles(tiles.tile_names, pixels, budget, one,
                                      sampler.get('strategy', 'class_covering'), tiles.sources,
                                      sampler.get('unit', 'tile')) for one in seeds}
    place = {name: index for index, name in enumerate(tiles.tile_names)}

    def read_tile(name: str) -> tuple[np.ndarray, np.ndarray]:
        sample = tiles[place[name]]
        return sample['img'], sample['gt_seg_map']

    rows = {name: probe_choices(build_backbone(cfg, source, seed), choices, read_tile, test_set, preprocessing(cfg),
                                crop or crop_size(cfg), data.classes, samples, seed=seed, device=device)
            for name, source in sources.items()}
    out_dir = Path(out_dir)
    write_json(out_dir / 'probe.json', dict(
        rows=rows, sources=dict(sources), config=cfg.filename, classes=data.classes, budget=str(budget),
        labelled_tiles=choices, units='per cent, but kappa; confusion: rows truth, columns prediction, pixels',
        part=evaluated_part(cfg, 'test'), test_tiles=len(test_set), crop=crop or crop_size(cfg), samples=samples,
        seed=seed, versions=package_versions(), git=git_state()))
    plot_seeds(rows, out_dir / 'probe.png')
    return rows


def _summary(readings: Mapping[str, Mapping[str, Any]]) -> tuple[float, float, list[float]]:
    """Mean and standard deviation over label seeds of the mIoU, and each, per cent."""
    values = [scores['mIoU'] for scores in readings.values()]
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else float('nan'), values


def print_seeds(rows: Rows, part: str = 'test') -> None:
    """Print one line for each backbone on a part: mean, standard deviation over label seeds, each seed."""
    cells = []
    for name, readings in rows.items():
        mean, spread, values = _summary(readings)
        cells.append((name, f'{mean:.1f}', f'{spread:.1f}', *(f'{value:.1f}' for value in values)))
    seeds = next(iter(rows.values()))
    print_table(('backbone', ), ('mean', 'std', *(f'seed {one}' for one in seeds)), cells, no_wrap=True,
                title=f'Linear probe of the frozen backbone at a label budget, mIoU in % on the {part} tiles')


def plot_seeds(rows: Rows, path: Path) -> None:
    """A column of points for each backbone, a point for each label seed, joined across; the means as bars."""
    figure = Figure((2.0 + 1.1 * len(rows), 3.4), dpi=120, layout='constrained')
    axes = figure.add_subplot()
    summaries = [_summary(readings) for readings in rows.values()]
    axes.bar(range(len(rows)), [mean for mean, _, _ in summaries], 0.7, color='0.85')
    for label_seed, values in zip(next(iter(rows.values())), zip(*(values for _, _, values in summaries))):
        axes.plot(range(len(rows)), values, 'o-', ms=4, lw=1, label=f'label seed {label_seed}')
    axes.set_xticks(range(len(rows)), list(rows))
    low = min(min(values) for _, _, values in summaries)
    axes.set(ylabel='mIoU of the linear probe, %', ylim=(max(0, low - 5), None))
    axes.legend(frameon=False, fontsize=8, loc='upper left', bbox_to_anchor=(1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path))
