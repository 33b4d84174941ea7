"""The forest as a run: the labelled tiles of a config, the fit, the config's evaluation, ``results.json``."""
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from rich.progress import track

from egmim_mm.band_order import swap_rgb_bgr
from egmim_mm.checks import LaunchError, check_labels
from egmim_mm.colors import default_palette
from egmim_mm.datasets.plain_tiles import LabelledImages
from egmim_mm.datasets.samplers import LabelBudgetSampler
from egmim_mm.evaluation.protocol import class_names, describe_labels, describe_split, evaluated_part
from egmim_mm.evaluation.results_document import describe_evaluation, results_document
from egmim_mm.inference.pixel_classifier import PixelClassifier
from egmim_mm.records.provenance import device_description, file_sha256, write_json
from egmim_mm.registry import DATASETS

from .forest_fitting import ForestSettings, LabelledTile, choose_settings, fit_forest
from .forest_segmenter import FOREST_FILE, ForestSegmenter, save_forest

__all__ = ['evaluate', 'labelled_tiles', 'run_forest']


def run_forest(cfg: Config, work_dir: str | Path, budget: float | int | str | None = None, seed: int | None = None,
               options: Sequence[ForestSettings] = (ForestSettings(), ), part: str = 'test') -> dict[str, Any]:
    """Fit a forest to the tiles that a training would learn from, evaluate it as a training is, and record both.

    Args:
        cfg: Segmentation config; its model, pipeline and schedule are not used.
        work_dir: Folder of ``forest.npz``, ``results.json``, ``per_image.npz`` and the config.
        budget, seed: Of the labelled tiles, instead of those of the config's sampler.
        options: Settings to choose from, see :func:`~.forest_fitting.choose_settings`.
        part: Which of the config's sets it is evaluated on, ``'val'`` or ``'test'``.

    Returns:
        What stands in ``results.json``.

    Raises:
        LaunchError: The config names no such set, or no evaluator of it, or the tiles hold no labelled pixel.
        ValueError: A budget that cannot be had, or labels that nothing can be learned from.
    """
    if not cfg.get(f'{part}_dataloader') or not cfg.get(f'{part}_evaluator'):
        raise LaunchError(f'{cfg.filename} has no {part}_dataloader or no {part}_evaluator: give another --part')
    work_dir, start = Path(work_dir), time.monotonic()
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmseg'):
        tiles, sampler, data = labelled_tiles(cfg, budget, seed)
        classes = tuple(data.metainfo['classes'])
        check_labels(data, sampler)
        settings, compared = choose_settings(tiles, classes, options, sampler.seed)
        _tell_choice(settings, compared, len(tiles))
        forest = fit_forest(tiles, len(classes), settings, sampler.seed)
        palette = data.metainfo.get('palette') or default_palette(len(classes))
        save_forest(work_dir / FOREST_FILE, forest, classes, palette, tiles[0].image.shape[2], settings.scale)
        fitted = time.monotonic()
        evaluation = evaluate(cfg, ForestSegmenter(work_dir), part, work_dir)
    training = dict(
        classes=list(classes), split=describe_split(cfg.train_dataloader.dataset, data),
        labels=describe_labels(dict(type='LabelBudgetSampler'), sampler), seed=sampler.seed, settings=asdict(settings),
        compared=compared)
    path = work_dir / FOREST_FILE
    document = results_document(
        part, evaluation, training, train_losses={}, backbone_source=None, training_s=fitted - start,
        checkpoint=dict(path=str(path), sha256=file_sha256(path)), device=device_description(torch.device('cpu')),
        config=cfg.filename, training_ended=None, strategy='forest')
    write_json(work_dir / 'results.json', document)
    cfg.dump(work_dir / Path(cfg.filename).name)
    return document


def labelled_tiles(cfg: Config, budget: float | int | str | None,
                   seed: int | None) -> tuple[list[LabelledTile], LabelBudgetSampler, Any]:
    """The tiles that a training with this budget and label seed would learn from, whole and in memory.

    Args:
        cfg: Segmentation config.
        budget, seed: See :class:`~egmim_mm.datasets.LabelBudgetSampler`; None: those of the config's sampler, or all
            tiles and 0.

    Returns:
        The tiles, in the order of choice; the sampler; the data set.

    Raises:
        ValueError: A budget that cannot be had, or a data set without masks.
    """
    wanted = cfg.train_dataloader.get('sampler') or {}
    images = LabelledImages(cfg.train_dataloader.dataset)
    sampler = LabelBudgetSampler(
        images.dataset, wanted.get('budget', 1.0) if budget is None else budget,
        wanted.get('seed', 0) if seed is None else seed, wanted.get('strategy', 'class_covering'), order_seed=0,
        unit=wanted.get('unit', 'tile'))
    place = {name: index for index, name in enumerate(images.dataset.tile_names)}
    tiles = []
    for name in sampler.tile_names:
        sample = images.dataset[place[name]]
        # the loaders give BGR, the rasters of maps RGB
        tiles.append(LabelledTile(name, np.ascontiguousarray(swap_rgb_bgr(sample['img'])), sample['gt_seg_map']))
    return tiles, sampler, images.dataset


def evaluate(cfg: Config, segmenter: PixelClassifier, part: str, work_dir: str | Path) -> dict[str, Any]:
    """Run a config's evaluator on the predictions of any segmentation model.

    Args:
        cfg: Segmentation config.
        segmenter: The model.
        part: ``'val'`` or ``'test'``.
        work_dir: Folder of the counts of each image.

    Returns:
        As :func:`~egmim_mm.evaluation.results_document.describe_evaluation`, with ``part`` and ``evaluation_s``.

    Raises:
        ValueError: The data set has other classes than the model.
    """
    start, dataset_cfg = time.monotonic(), cfg[f'{part}_dataloader'].dataset
    dataset = DATASETS.build(dataset_cfg)
    if class_names(dataset) != list(segmenter.classes):
        raise ValueError(f'the {part} set has the classes {class_names(dataset)}, but the model was fitted to '
                         f'{list(segmenter.classes)}')
    evaluator = Evaluator(cfg[f'{part}_evaluator'])
    evaluator.dataset_meta = dataset.metainfo
    for index in track(range(len(dataset)), f'{part} images'):
        sample = dataset[index]
        pixels = swap_rgb_bgr(sample['inputs'].numpy().transpose(1, 2, 0))
        found = torch.from_numpy(segmenter(np.ascontiguousarray(pixels), batch=1).astype(np.int64))
        sample['data_samples'].pred_sem_seg = PixelData(data=found[None])
        evaluator.process([sample['data_samples']])
    metrics = evaluator.evaluate(len(dataset))
    return dict(describe_evaluation(evaluator, dataset, dataset_cfg, metrics, work_dir),
                part=evaluated_part(cfg, part), evaluation_s=time.monotonic() - start)


def _tell_choice(settings: ForestSettings, compared: Sequence[dict[str, Any]], tiles: int) -> None:
    if compared:
        rows = '\n'.join(f'  {ForestSettings(**{k: v for k, v in row.items() if k != "mIoU"})}: mIoU {row["mIoU"]:.1f}'
                         for row in compared)
        print_log(f'Settings compared by leaving out each of the {tiles} labelled tiles in turn (of more than five, '
                  f'a fifth at a time); no other image is looked at:\n{rows}\ntaken: {settings}', logger='current')
    elif tiles == 1:
        print_log(f'One labelled tile: none can be left out to compare settings; taken: {settings}', logger='current')
    else:
        print_log(f'Settings as given: {settings}', logger='current')
