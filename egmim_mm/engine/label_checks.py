"""Labels that cannot teach: looked at before a training, not found out after it."""
import fcntl
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log

from egmim_mm.datasets.label_budget import select_tiles
from egmim_mm.datasets.segmentation import SegmentationTiles
from egmim_mm.registry import DATASETS
from egmim_mm.storage.tile_reading import read_raw

from .errors import LaunchError

__all__ = ['check_labels', 'label_warnings']

_LOOKED_INTO = 5  # masks whose file values are read for a hint


def check_labels(cfg: Config) -> None:
    """Warn of classes and tiles that the labels of a training leave without a pixel.

    The pixels of each class are those that :class:`~egmim_mm.datasets.LabelBudgetSampler` goes by: counted once, then
    read from the cache beside the data. Of the processes of a machine one counts while the others wait for its file
    lock, not inside a collective operation, which would time out. Data sets other than
    :class:`~egmim_mm.datasets.SegmentationTiles` and unlabelled ones are left alone.

    Args:
        cfg: A config to be trained.

    Raises:
        LaunchError: There is no labelled pixel at all.
        FileNotFoundError, TileReadError, ValueError: As the data set and the sampler raise them.
    """
    loader = cfg.train_dataloader
    kind = loader.dataset.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(kind, type) and issubclass(kind, SegmentationTiles)):
        return
    # sizes are compared when the Runner builds it again
    options = {key: value for key, value in loader.dataset.items() if key != 'type'}
    dataset = kind(**dict(options, pipeline=[], check_first=0))
    with _one_at_a_time(dataset.data_root):
        pixels = dataset.class_pixels()
    for message in label_warnings(dataset, pixels, _labelled(dataset, pixels, cfg)):
        print_log(message, logger='current', level=logging.WARNING)


def label_warnings(dataset: SegmentationTiles, pixels: np.ndarray, chosen: Sequence[str]) -> list[str]:
    """Sentences about the chosen tiles.

    Args:
        dataset: N tiles of K classes.
        pixels: (N, K) integers, the labelled pixels of each class in each tile.
        chosen: Names of the tiles whose labels are used.

    Raises:
        LaunchError: The chosen tiles hold no labelled pixel.
    """
    names, classes = dataset.tile_names, dataset.metainfo['classes']
    place = {name: row for row, name in enumerate(names)}
    rows = [place[name] for name in chosen]
    counts = pixels[rows]  # (n, K)
    tiles = f'the labelled tile{"s" * (len(chosen) > 1)} ({_shortened(chosen)})'
    hint = _hint(dataset, rows) if (counts.sum(0) > 0).sum() < 2 else ''
    if not counts.any():
        raise LaunchError(f'there is nothing to learn from: {tiles} hold{"s" * (len(chosen) == 1)} no labelled pixel, '
                          f'only ignored ones{hint}')
    messages = []
    for number in np.flatnonzero(counts.sum(0) == 0):
        holders = [names[row] for row in np.flatnonzero(pixels[:, number])]
        where = (f'{len(holders)} other tiles hold it ({_shortened(holders)}): a larger label budget or another '
                 'train_dataloader.sampler.seed would take them in' if holders else
                 f'no tile of {dataset.data_root} does either{hint}')
        messages.append(f'Class {classes[number]} cannot be learned: {tiles} hold{"s" * (len(chosen) == 1)} no pixel of '
                        f'it; {where}')
    blank = [name for name, row in zip(chosen, counts) if not row.any()]
    if blank:
        messages.append(f'{len(blank)} of {len(chosen)} labelled tiles teach nothing, because all their pixels are '
                        f'ignored: {_shortened(blank)}{_hint(dataset, [place[name] for name in blank])}')
    return messages


def _labelled(dataset: SegmentationTiles, pixels: np.ndarray, cfg: Config) -> list[str]:
    """The tiles that the sampler of the config will choose; all of them without a label budget."""
    sampler = cfg.train_dataloader.get('sampler') or {}
    if 'budget' not in sampler:
        return dataset.tile_names
    seed = sampler.get('seed', (cfg.get('randomness') or {}).get('seed'))  # MMEngine fills in that of the run
    options = {key: sampler[key] for key in ('strategy', 'unit') if key in sampler}
    return select_tiles(dataset.tile_names, pixels, sampler.budget, seed or 0, sources=dataset.sources, **options)


def _hint(dataset: SegmentationTiles, rows: Sequence[int]) -> str:
    """What stands in the masks instead, if it is something that the data set ignores."""
    table = dataset.mask_table
    as_rgb = table.mask_format == 'color'
    held: set[int] = set()
    for row in rows[:_LOOKED_INTO]:
        raw = read_raw(dataset.get_data_info(row)['seg_map_path'], as_rgb).astype(np.int64)
        held |= set(np.unique(raw @ np.array([1 << 16, 1 << 8, 1]) if as_rgb else raw).tolist())
    ignored = sorted(held & set(table.ignore))
    if not ignored:
        return ''
    shown = ', '.join(table.show(value) for value in sorted(held))
    names = ' and '.join(table.show(value) for value in ignored)
    listed = ', '.join(map(repr, (table.show(v) for v in sorted(held)))) if as_rgb else shown
    return (f'. The masks hold {shown}, and {names} counts as not labelled: if it stands for a class, list it, '
            f'mask_values=({listed}{"," * (len(held) == 1)})')


def _shortened(names: Sequence[str]) -> str:
    return ', '.join(names[:5]) + (f', ... {len(names)} in all' if len(names) > 5 else '')


@contextmanager
def _one_at_a_time(folder: str) -> Iterator[IO]:
    """A lock among the processes of this machine and user; one that dies lets go of it."""
    key = hashlib.blake2b(os.path.realpath(folder).encode(), digest_size=8).hexdigest()
    with open(Path(tempfile.gettempdir(), f'egmim_mm_{os.getuid()}_{key}.lock'), 'w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
