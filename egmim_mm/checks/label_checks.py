"""Labels that cannot teach: looked at before a training, not found out after it."""
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations
from torch.utils.data import Dataset

from egmim_mm.datasets.class_counts import count_class_pixels
from egmim_mm.datasets.segmentation import SegmentationTiles
from egmim_mm.storage.mask_values import IGNORE, MaskValues
from egmim_mm.storage.tile_reading import TileReadError, image_bands, read_raw

from .launch_error import LaunchError

__all__ = ['LabelledTiles', 'check_labels', 'label_warnings']

_LOOKED_INTO = 5  # masks whose file values are read for a hint
_HEADERS = 5000  # images whose bands are compared


@dataclass(frozen=True)
class LabelledTiles:
    """What the masks of a data set are.

    Args:
        names: Of N tiles.
        masks: Their N files.
        classes: Names of K classes.
        table: Their values in the files.
        folder: Of the data set.
        hint: How values that are no class yet are made one, with ``{values}`` in place of all that are there.
    """
    names: Sequence[str]
    masks: Sequence[str]
    classes: Sequence[str]
    table: MaskValues
    folder: str
    hint: str = ''


def check_labels(dataset: Dataset, sampler: Any = None) -> None:
    """Warn of classes and tiles that the labels of a training leave without a pixel.

    The pixels of each class are counted once, then read from the cache beside the data, as
    :class:`~egmim_mm.datasets.LabelBudgetSampler` does. Data sets of MMSegmentation are looked at if their pipeline
    reads local masks with its own ``LoadAnnotations`` and each class is one value; other data sets, and those without
    masks, are left alone.

    Args:
        dataset: Of the training, as it was built for it.
        sampler: It may choose tiles (``members``); without, all are used.

    Raises:
        LaunchError: There is no labelled pixel at all.
        TileReadError: A mask cannot be read or holds a value that is not in the class list, or two labelled images have
            different numbers of bands.
        ValueError: A data set of this package that was set up without masks.
    """
    tiles = _labelled_tiles(dataset)
    if tiles is None:
        return
    pixels = dataset.class_pixels() if isinstance(dataset, SegmentationTiles) else count_class_pixels(
        tiles.names, tiles.masks, tiles.table, tiles.folder)
    chosen = getattr(sampler, 'members', range(len(tiles.names)))
    if isinstance(dataset, SegmentationTiles):
        _check_bands([dataset.get_data_info(row)['img_path'] for row in chosen])
    for message in label_warnings(tiles, pixels, [tiles.names[row] for row in chosen]):
        print_log(message, logger='current', level=logging.WARNING)


def _check_bands(images: Sequence[str]) -> None:
    """Compare the headers of labelled images: all are read as three bands, which would hide that one has others.

    Raises:
        TileReadError: Two have different numbers of bands, alpha not counted.
    """
    first, *others = images[:_HEADERS]
    bands = image_bands(first)
    for image in others:
        if (number := image_bands(image)) != bands:
            raise TileReadError(f'{image} has {number} band{"s" * (number > 1)} and {first} has {bands}: labelled '
                                'tiles need the same bands; convert them with tools/dataset_converters/folder.py '
                                '--bands')


def _labelled_tiles(dataset: Dataset) -> LabelledTiles | None:
    if not isinstance(dataset, BaseSegDataset):
        return None
    masks = [dataset.get_data_info(row).get('seg_map_path') for row in range(len(dataset))]
    folder, classes = dataset.data_root, dataset.metainfo['classes']
    if isinstance(dataset, SegmentationTiles):
        return LabelledTiles(dataset.tile_names, masks, classes, dataset.mask_table, folder,
                             ': if it stands for a class, list it, mask_values=({values})')
    steps = getattr(dataset.pipeline, 'transforms', ())
    readable = any(type(step) is LoadAnnotations for step in steps) and all(masks) and not dataset.backend_args
    table = _stock_table(dataset) if readable else None
    if table is None:
        return None
    folder = folder or os.path.commonpath(list(map(os.path.dirname, masks)))
    names = [os.path.splitext(os.path.relpath(mask, folder))[0] for mask in masks]
    return LabelledTiles(names, masks, classes, table, folder)


def _stock_table(dataset: BaseSegDataset) -> MaskValues | None:
    """The values that become each class in ``LoadAnnotations``; None if there is not one for each."""
    raw = np.arange(IGNORE + 1)
    labels = np.where(raw == 0, IGNORE, raw - 1) if dataset.reduce_zero_label else raw.copy()
    labels[raw == IGNORE] = IGNORE
    if dataset.label_map:
        labels = np.array([dataset.label_map.get(label, label) for label in labels.tolist()])
    values = [raw[labels == number] for number in range(len(dataset.metainfo['classes']))]
    if any(len(value) != 1 for value in values):
        return None
    listed = tuple(int(value[0]) for value in values)
    # a value beyond the classes fails in the loss; here it counts as no label
    return MaskValues('index', listed, tuple(sorted(set(raw.tolist()) - set(listed))))


def label_warnings(tiles: LabelledTiles, pixels: np.ndarray, chosen: Sequence[str]) -> list[str]:
    """Sentences about the chosen tiles.

    Args:
        tiles: N tiles of K classes.
        pixels: (N, K) integers, the labelled pixels of each class in each tile.
        chosen: Names of the tiles whose labels are used.

    Raises:
        LaunchError: The chosen tiles hold no labelled pixel.
    """
    names, classes = tiles.names, tiles.classes
    place = {name: row for row, name in enumerate(names)}
    rows = [place[name] for name in chosen]
    counts = pixels[rows]  # (n, K)
    who = f'the labelled tile{"s" * (len(chosen) > 1)} ({_shortened(chosen)})'
    hint = _hint(tiles, rows) if (counts.sum(0) > 0).sum() < 2 else ''
    if not counts.any():
        raise LaunchError(f'there is nothing to learn from: {who} hold{"s" * (len(chosen) == 1)} no labelled pixel, '
                          f'only ignored ones{hint}')
    messages = []
    for number in np.flatnonzero(counts.sum(0) == 0):
        holders = [names[row] for row in np.flatnonzero(pixels[:, number])]
        where = (f'{len(holders)} other tiles hold it ({_shortened(holders)}): a larger label budget or another '
                 'train_dataloader.sampler.seed would take them in' if holders else
                 f'no tile of {tiles.folder} does either{hint}')
        messages.append(f'Class {classes[number]} cannot be learned: {who} hold{"s" * (len(chosen) == 1)} no pixel '
                        f'of it; {where}')
    blank = [name for name, row in zip(chosen, counts) if not row.any()]
    if blank:
        messages.append(f'{len(blank)} of {len(chosen)} labelled tiles teach nothing, because all their pixels are '
                        f'ignored: {_shortened(blank)}{_hint(tiles, [place[name] for name in blank])}')
    return messages


def _hint(tiles: LabelledTiles, rows: Sequence[int]) -> str:
    """What stands in the masks instead, if it is something that the data set ignores."""
    table = tiles.table
    as_rgb = table.mask_format == 'color'
    held: set[int] = set()
    for row in rows[:_LOOKED_INTO]:
        raw = read_raw(tiles.masks[row], as_rgb).astype(np.int64)
        held |= set(np.unique(raw @ np.array([1 << 16, 1 << 8, 1]) if as_rgb else raw).tolist())
    ignored = sorted(held & set(table.ignore))
    if not ignored:
        return ''
    shown = ', '.join(table.show(value) for value in sorted(held))
    names = ' and '.join(table.show(value) for value in ignored)
    listed = ', '.join(map(repr, (table.show(v) for v in sorted(held)))) if as_rgb else shown
    hint = tiles.hint.format(values=listed + ',' * (len(held) == 1))
    return f'. The masks hold {shown}, and {names} counts as not labelled{hint}'


def _shortened(names: Sequence[str]) -> str:
    return ', '.join(names[:5]) + (f', ... {len(names)} in all' if len(names) > 5 else '')
