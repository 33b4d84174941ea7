"""Probe one or several backbones as a segmentation config describes them; table, JSON and plot."""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import init_default_scope

from egmim_mm.datasets.plain_tiles import LabelledImages
from egmim_mm.evaluation.protocol import evaluated_part
from egmim_mm.inference.frozen_backbone import build_backbone, crop_size, preprocessing
from egmim_mm.records.provenance import git_state, package_versions, write_json
from egmim_mm.records.tables import print_table

from .probe import Stages, probe


def compare_backbones(cfg: Config,
                      sources: Mapping[str, str],
                      out_dir: str | Path,
                      stages: str | Sequence[Stages] = 'all',
                      crop: int | None = None,
                      samples: int = 50_000,
                      seed: int = 0,
                      device: str | None = None) -> dict[str, dict[str, dict[str, Any]]]:
    """Probe each source on the config's training and test tiles and write ``probe.json`` and ``.png``.

    Args:
        cfg: Segmentation config; its sampler, schedule and decode heads are not used.
        sources: Name -> checkpoint, work dir or ``'scratch'``.
        out_dir: Folder of the two files.
        stages: See :func:`~egmim_mm.analysis.probe.probe`.
        crop: Window side in pixels; the backbone's ``img_size`` by default.
        samples: Most training cells.
        seed: Seed of the cells and of random weights.
        device: Default: a GPU if there is one.

    Returns:
        Name -> reading -> scores.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    crop = crop or crop_size(cfg)
    train_set = LabelledImages(cfg.train_dataloader.dataset)
    test_set = LabelledImages(cfg.test_dataloader.dataset)
    preprocess = preprocessing(cfg)

    rows = {}
    for name, source in sources.items():
        rows[name] = probe(build_backbone(cfg, source, seed), train_set, test_set, preprocess, crop,
                           train_set.classes, stages, samples, seed=seed, device=device)
    out_dir = Path(out_dir)
    write_json(out_dir / 'probe.json', dict(
        rows=rows, sources=dict(sources), config=cfg.filename, classes=train_set.classes,
        units='per cent, but kappa; confusion: rows truth, columns prediction, pixels',
        part=evaluated_part(cfg, 'test'), train_tiles=len(train_set), test_tiles=len(test_set), crop=crop,
        samples=samples, seed=seed, versions=package_versions(), git=git_state()))
    plot_rows(rows, out_dir / 'probe.png')
    return rows


def print_rows(rows: Mapping[str, Mapping[str, Mapping[str, Any]]], part: str = 'test') -> None:
    """Print one line for each backbone and reading on a part: the means, then IoU of each class."""
    first = next(iter(next(iter(rows.values())).values()))
    classes = [key[len('IoU/'):] for key in first if key.startswith('IoU/')]
    keys: list[str] = ['mIoU', 'mF1', 'OA'] + [f'IoU/{name}' for name in classes]
    cells = [(name, reading, *(f'{scores[key]:.1f}' for key in keys))
             for name, readings in rows.items() for reading, scores in readings.items()]
    print_table(('backbone', 'features'), [key.replace('IoU/', 'IoU\n') for key in keys], cells, no_wrap=True,
                title=f'Linear probe of the frozen backbone, % on the {part} tiles')


def plot_rows(rows: Mapping[str, Mapping[str, Mapping[str, Any]]], path: str | Path) -> None:
    """Bar plot: mIoU by backbone, a group for each reading."""
    names, readings = list(rows), list(next(iter(rows.values())))
    figure = Figure((1.6 + 0.55 * len(names) * len(readings) + 1.2, 3.2), dpi=120, layout='constrained')
    axes = figure.add_subplot()
    width = 0.8 / len(names)
    for index, name in enumerate(names):
        values = [rows[name][reading]['mIoU'] for reading in readings]
        places = np.arange(len(readings)) + (index - (len(names) - 1) / 2) * width
        axes.bar_label(axes.bar(places, values, 0.92 * width, label=name), fmt='%.1f', fontsize=8)
    axes.set_xticks(range(len(readings)), readings)
    axes.set(ylabel='mIoU of the linear probe, %', xlim=(-0.6, len(readings) - 0.4))
    axes.spines[['top', 'right']].set_visible(False)
    axes.margins(y=0.12)
    if len(names) > 1:
        axes.legend(frameon=False, fontsize=8, loc='upper left', bbox_to_anchor=(1, 1))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path))
