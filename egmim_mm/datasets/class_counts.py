"""Pixels of each class in each mask: counted once, then read from a cache file."""
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from egmim_mm.storage.mask_values import IGNORE, MaskValues, read_mask

__all__ = ['count_class_pixels']


def count_class_pixels(names: Sequence[str], paths: Sequence[str], values: MaskValues,
                       cache_root: str) -> np.ndarray:
    """Count the pixels of every class in every mask.

    The counts are kept in ``<cache_root>/.egmim_cache``, or in ``~/.cache/egmim_mm`` when that cannot be
    written. A change of a name, of a file's size or time, or of the value table counts anew.

    Args:
        names (Sequence[str]): N tile names.
        paths (Sequence[str]): N mask files.
        values (MaskValues): K classes.
        cache_root (str): Folder of the data set.

    Returns:
        np.ndarray: (N, K) int64; ignored pixels are not counted.

    Raises:
        TileReadError: A mask cannot be read or holds a value that is not in the class list.
    """
    file_name = f'class_pixels_{_fingerprint(names, paths, values)}.npy'
    folders = [Path(cache_root, '.egmim_cache'), Path('~/.cache/egmim_mm').expanduser()]
    # A folder that is write-protected on purpose stays untouched, also for root, who could write.
    if not os.path.isdir(cache_root) or not os.stat(cache_root).st_mode & 0o222:
        del folders[0]
    for folder in folders:
        counts = _read_cache(folder / file_name, (len(paths), len(values.values)))
        if counts is not None:
            return counts

    counts = _count(paths, values)
    for folder in folders:
        if _write_cache(folder / file_name, counts):
            break
    else:
        print_log(f'Class pixels could not be cached in {" or ".join(map(str, folders))}: they are counted again '
                  'in the next run', logger='current')
    return counts


def _count(paths: Sequence[str], values: MaskValues) -> np.ndarray:
    counts = np.zeros((len(paths), len(values.values)), dtype=np.int64)
    print_log(f'Counting the classes of {len(paths)} masks (once, then cached)', logger='current')
    reported = time.monotonic()
    for row, path in enumerate(paths):
        counts[row] = np.bincount(read_mask(path, values).ravel(), minlength=IGNORE + 1)[:counts.shape[1]]
        if time.monotonic() - reported > 30:  # large data sets take minutes
            reported = time.monotonic()
            print_log(f'Counted {row + 1} of {len(paths)} masks', logger='current')
    return counts


def _fingerprint(names: Sequence[str], paths: Sequence[str], values: MaskValues) -> str:
    digest = hashlib.blake2b(repr(values).encode(), digest_size=12)
    for name, path in zip(names, paths):
        stat = os.stat(path)
        digest.update(f'{name}\x1f{stat.st_size}\x1f{stat.st_mtime_ns}\n'.encode())
    return digest.hexdigest()


def _read_cache(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    try:
        counts = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # no cache, or one that was cut off: count again
        return None
    return counts if counts.shape == shape and counts.dtype == np.int64 else None


def _write_cache(path: Path, counts: np.ndarray) -> bool:
    """Write in one step, so that a second process never reads half a file."""
    draft = path.with_name(f'{path.stem}.{os.getpid()}.npy')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(draft, counts)
        os.replace(draft, path)
    except OSError:
        return False
    return True
