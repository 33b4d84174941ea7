"""The test images on which two models differ most, side by side."""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from egmim_mm.band_order import swap_rgb_bgr
from egmim_mm.baselines.forest_segmenter import FOREST_FILE, ForestSegmenter
from egmim_mm.checkpoints import CheckpointError
from egmim_mm.checks import LaunchError
from egmim_mm.datasets.plain_tiles import LabelledImages
from egmim_mm.engine.dev_part import use_dev_part
from egmim_mm.evaluation.per_image import image_names
from egmim_mm.inference import Segmenter
from egmim_mm.pictures.sheets import colorize, contact_sheet
from egmim_mm.pictures.training_data import class_colors

from .paired_runs import Run

__all__ = ['differing_images']

PREDICTIONS = 'predictions'  # folder in a work dir: class maps as tools/test.py --out writes them


def differing_images(runs: Mapping[str, Run], gains: Mapping[str, float], number: int,
                     path: Path) -> tuple[Path | None, str | None]:
    """Draw image, truth and both predictions of the images whose scores differ most.

    The predictions are read from the folder ``predictions`` of a work dir, or made again with its forest or checkpoint.

    Args:
        runs: Name of a model -> its first run.
        gains: Image -> difference of the scores.
        number: Images, at most.
        path: The picture.

    Returns:
        The path, or None and the reason why nothing could be drawn.
    """
    ordered = sorted((name for name, gain in gains.items() if np.isfinite(gain)), key=lambda name: -abs(gains[name]))
    chosen = [name for name in ordered[:number] if gains[name]]
    if not chosen:
        return None, 'they score the same on every image'
    first = next(iter(runs.values()))
    try:
        cfg = _config(first)
        part = 'test' if first.results['phase'] == 'test' else 'val'
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmseg'):
            data = LabelledImages(cfg[f'{part}_dataloader'].dataset)
        place = {name: index for index, name in enumerate(image_names(data.dataset))}
        samples = [data.dataset[place[name]] for name in chosen]
        images = [np.ascontiguousarray(swap_rgb_bgr(sample['img'])) for sample in samples]
        maps = [_predictions(run, chosen, images) for run in runs.values()]
    except (CheckpointError, LaunchError, FileNotFoundError, KeyError, ValueError) as error:
        return None, str(error)
    palette, ignored, legend = class_colors(data.dataset.metainfo)
    rows = [[image, *(colorize(classes, palette, ignored) for classes in (sample['gt_seg_map'], *guesses))]
            for image, sample, *guesses in zip(images, samples, *maps)]
    contact_sheet(rows, ['image', 'truth', *runs], path, legend, [f'{name} {gains[name]:+.1f}' for name in chosen])
    return path, None


def _config(run: Run) -> Config:
    """The config that a run has left in its work dir, or the one it names."""
    files = sorted(run.work_dir.glob('*.py')) or [Path(run.results.get('config') or run.work_dir / 'its config')]
    if len(files) > 1 or not files[0].is_file():
        raise FileNotFoundError(f'{run.work_dir} has not left one config: {", ".join(map(str, files))}')
    cfg = Config.fromfile(files[0])
    if run.results.get('part') == 'dev' and 'part' not in cfg.train_dataloader.dataset:
        use_dev_part(cfg)  # a config that a run left has it already
    return cfg


def _predictions(run: Run, names: Sequence[str], images: Sequence[np.ndarray]) -> list[Any]:
    """(H, W) class maps of some images."""
    files = [run.work_dir / PREDICTIONS / f'{name}.png' for name in names]
    if all(file.is_file() for file in files):
        return [np.asarray(Image.open(file)) for file in files]
    if (run.work_dir / FOREST_FILE).is_file():
        segmenter = ForestSegmenter(run.work_dir)
    else:
        tested = (run.results.get('checkpoint') or {}).get('path')
        segmenter = Segmenter(_config(run), tested if tested and Path(tested).is_file() else run.work_dir)
    return [segmenter(image, batch=1) for image in images]
