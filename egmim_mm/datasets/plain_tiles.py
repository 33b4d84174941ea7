"""Tiles to look at: loaded as a config loads them, without augmentation, and cut from the centre."""
import copy
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset, Compose
from mmengine.registry import DefaultScope
from torch.utils.data import Dataset

from egmim_mm.registry import DATASETS
from egmim_mm.storage.image_files import SUFFIXES, find_images

from .transforms import LoadTile

__all__ = [
    'LabelledImages', 'Tile', 'build_training_data', 'centre_crop', 'dataset_tiles', 'file_tiles', 'load_steps',
    'pipeline_of', 'short_names', 'spread', 'tile_names', 'without_augmentation'
]


class Tile(NamedTuple):
    """An image as the pipeline loads it: (H, W, C), BGR if it has three bands; and what it is called."""

    name: str
    image: np.ndarray


def spread(count: int, num: int) -> list[int]:
    """At most ``num`` indices below ``count``, evenly spread, with the first and the last."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(num, count))})


def load_steps(pipeline: Sequence[Any]) -> list[Any]:
    """The first steps of a pipeline, configs or transforms, that load images and labels.

    They are called ``Load...``; ``SparseLabels`` is one, too.
    """
    steps = []
    for step in pipeline:
        name = step['type'].rsplit('.', 1)[-1] if isinstance(step, dict) else type(step).__name__
        if not name.startswith(('Load', 'SparseLabels')):
            break
        steps.append(step)
    return steps


def pipeline_of(dataset: Dataset) -> Sequence[Any]:
    """The transforms of a data set; none, if it has no pipeline of its own."""
    return getattr(getattr(dataset, 'pipeline', None), 'transforms', ())


def build_training_data(cfg: Config) -> BaseDataset:
    """The training data set of a config.

    Raises:
        FileNotFoundError, TileReadError, ValueError: As the data set.
    """
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    dataset.full_init()
    return dataset


def without_augmentation(dataset: Dataset) -> Dataset:
    """The same data set with only the loading steps of its pipeline, or what its ``plain()`` gives.

    Raises:
        ValueError: The data set has neither a pipeline that begins with a loading step nor ``plain()``.
    """
    if hasattr(dataset, 'plain'):
        return dataset.plain()
    steps = load_steps(pipeline_of(dataset))
    if not steps:
        raise ValueError(f'a {type(dataset).__name__} has no pipeline that begins with a loading step, so no tiles can '
                         'be taken from it: name image files')
    plain = copy.copy(dataset)
    plain.pipeline = Compose(steps)
    return plain


def tile_names(dataset: Dataset, indices: Sequence[int]) -> list[str]:
    """Short names of tiles of a data set."""
    samples = [dataset.get_data_info(index) for index in indices]
    return short_names([sample.get('tile_name') or sample['img_path'] for sample in samples])


def dataset_tiles(dataset: Dataset, num: int) -> Iterator[Tile]:
    """At most ``num`` tiles spread over a data set, loaded one by one as they are asked for.

    Raises:
        ValueError: The data set has no pipeline that begins with a loading step.
        TileReadError: An image cannot be read.
    """
    plain, indices = without_augmentation(dataset), spread(len(dataset), num)
    for name, index in zip(tile_names(plain, indices), indices):
        yield Tile(name, plain[index]['img'])


def file_tiles(paths: Sequence[str | Path], num: int, pipeline: Sequence[Any] = ()) -> Iterator[Tile]:
    """Named image files, and at most ``num`` spread over each named folder.

    Args:
        paths: Image files and folders.
        num: Most images of one folder.
        pipeline: Pipeline of a data set, configs or transforms. If it begins with a loading step, that reads the files,
            else ``LoadTile``.

    Raises:
        FileNotFoundError: One of the paths does not exist, or a folder holds no image.
        TileReadError: An image cannot be read.
    """
    load, files = Compose(load_steps(pipeline)[:1] or [LoadTile()]), []
    for path in map(Path, paths):
        if path.is_dir():
            images = find_images(str(path))
            if not images:
                raise FileNotFoundError(f'no image in folder {path} ({", ".join(SUFFIXES)})')
            files += [path / images[i] for i in spread(len(images), num)]
        elif path.is_file():
            files.append(path)
        else:
            raise FileNotFoundError(f'image {path} does not exist')
    for name, file in zip(short_names(files), files):
        yield Tile(name, load(dict(img_path=str(file)))['img'])


def short_names(paths: Sequence[str | Path]) -> list[str]:
    """Paths without the folders that all of them share and without the ending of an image file."""
    parts = [Path(path).parts for path in paths]
    length = min(map(len, parts))
    differ = [at for at in range(length - 1) if len({p[at] for p in parts}) > 1]
    if len(set(map(len, parts))) > 1:
        differ = list(range(next(iter(differ), length - 1), length - 1))  # only what they begin with is left out
    names = ['/'.join([*(p[at] for at in differ), *p[length - 1:]]) for p in parts]
    return [os.path.splitext(name)[0] if name.lower().endswith(SUFFIXES) else name for name in names]


def centre_crop(tile: Tile, size: int, unit: int = 32) -> Tile:
    """The central square of ``size`` px; of a smaller tile as much as is a multiple of ``unit`` px.

    Args:
        tile: (H, W, C).
        size: Largest height and width, px, a multiple of ``unit``.
        unit: px.

    Raises:
        ValueError: ``size`` is not a multiple of ``unit``, or the tile is smaller than ``unit``.
    """
    if size < unit or size % unit:
        raise ValueError(f'the size of the pictures, {size} px, must be a multiple of {unit} px')
    height, width = (min(side, size) // unit * unit for side in tile.image.shape[:2])
    if not height or not width:
        raise ValueError(f'{tile.name}: {tile.image.shape[0]} x {tile.image.shape[1]} px (height x width) is smaller '
                         f'than {unit} x {unit} px')
    top, left = (tile.image.shape[0] - height) // 2, (tile.image.shape[1] - width) // 2
    # a copy: a view would keep the whole tile in memory
    return tile._replace(image=tile.image[top:top + height, left:left + width].copy())


class LabelledImages:
    """The whole tiles of a data set, each as (image (H, W, C) uint8, label (H, W) uint8).

    Only the ``Load...`` steps of the data set's pipeline are run, so no crop, flip or colour change,
    and no sampler: every labelled tile counts.

    Args:
        dataset_cfg: Config of a segmentation data set.
    """

    def __init__(self, dataset_cfg: dict) -> None:
        cfg = dict(dataset_cfg)
        pipeline = load_steps(cfg.get('pipeline', ()))
        # The test pipeline may lack the label step when labels are loaded elsewhere; say so early.
        if len(pipeline) < 2:
            raise ValueError(f'the pipeline of {cfg.get("type")} (data_root {cfg.get("data_root")}) '
                             'needs one step that loads images and one that loads labels; it has '
                             f'{[step["type"] for step in pipeline]}')
        self.dataset = DATASETS.build(dict(cfg, pipeline=pipeline))

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.dataset.metainfo['classes'])

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for index in range(len(self.dataset)):
            sample = self.dataset[index]
            yield sample['img'], sample['gt_seg_map']
