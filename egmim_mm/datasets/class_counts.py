"""Pixels of each class in each mask: counted once, by all cores, then read from a cache file."""
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock
from joblib import Parallel, delayed
from mmengine.logging import print_log

from egmim_mm.records import whole_file
from egmim_mm.storage.mask_values import MaskValues, count_classes

__all__ = ['count_class_pixels']

MANY = 2000  # masks from which on processes are worth their start of some seconds; below it threads count
CHUNK = 64  # masks counted between two lines of the journal: a second or less of work


def count_class_pixels(names: Sequence[str], paths: Sequence[str], values: MaskValues,
                       cache_root: str) -> np.ndarray:
    """Count the pixels of every class in every mask.

    The counts are kept in ``<cache_root>/.egmim_cache``, or in ``~/.cache/egmim_mm`` when that cannot be
    written. A change of a name, of a file's size or time, or of the value table counts anew. They are written as they
    are counted: after a stop the rest is counted. Of several processes, also those of a distributed run, the first one
    counts and the others wait for its lock, which a process that dies gives up; no process waits in a collective.

    Args:
        names: N tile names.
        paths: N mask files.
        values: K classes.
        cache_root: Folder of the data set.

    Returns:
        (N, K) int64; ignored pixels are not counted.

    Raises:
        TileReadError: A mask cannot be read or holds a value that is not in the class list.
    """
    file_name = f'class_pixels_{_fingerprint(names, paths, values)}.npy'
    folders = [Path(cache_root, '.egmim_cache'), Path('~/.cache/egmim_mm').expanduser()]
    # A folder that is write-protected on purpose stays untouched, also for root, who could write.
    if not os.path.isdir(cache_root) or not os.stat(cache_root).st_mode & 0o222:
        del folders[0]
    shape = (len(paths), len(values.values))
    for folder in folders:
        counts = _read_cache(folder / file_name, shape)
        if counts is not None:
            return counts
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return _count_into(folder / file_name, paths, values)
        except OSError:  # not writable, or full: the next place
            continue
    print_log(f'Class pixels could not be cached in {" or ".join(map(str, folders))}: they are counted again '
              'in the next run', logger='current')
    return np.concatenate([counted for _, counted in _counted(paths, range(len(paths)), values)])


def _count_into(cache: Path, paths: Sequence[str], values: MaskValues) -> np.ndarray:
    """Count what the cache and its journal lack; raises OSError if they cannot be written."""
    journal, shape = cache.with_suffix('.journal'), (len(paths), len(values.values))
    lock = FileLock(cache.with_suffix('.lock'))
    with lock:
        counts = _read_cache(cache, shape)  # another process may have counted while this one waited
        if counts is None:
            counts, done = _read_journal(journal, shape)
            with open(journal, 'ab') as file:
                for rows, counted in _counted(paths, np.flatnonzero(~done), values):
                    counts[rows] = counted
                    file.write(np.column_stack([rows, counted]).tobytes())
                    file.flush()
            with whole_file(cache) as draft:
                np.save(draft, counts)
            journal.unlink()
        Path(lock.lock_file).unlink(missing_ok=True)
    return counts


def _counted(paths: Sequence[str], rows: Sequence[int], values: MaskValues) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(n,) rows and their (n, K) counts, chunk by chunk in order."""
    print_log(f'Counting the classes of {len(rows)} masks (once, then cached)', logger='current')
    reported, finished = time.monotonic(), 0
    chunks = [np.asarray(rows[start:start + CHUNK], np.int64) for start in range(0, len(rows), CHUNK)]
    # loky starts fresh interpreters: a fork would copy the threads' locks of a process that trains
    pool = Parallel(n_jobs=-1, backend='loky' if len(rows) >= MANY else 'threading', return_as='generator')
    for chunk, counted in zip(chunks, pool(
            delayed(count_classes)([paths[row] for row in chunk], values) for chunk in chunks)):
        yield chunk, counted
        finished += len(chunk)
        if time.monotonic() - reported > 30:  # large data sets take minutes
            reported = time.monotonic()
            print_log(f'Counted {finished} of {len(rows)} masks', logger='current')


def _fingerprint(names: Sequence[str], paths: Sequence[str], values: MaskValues) -> str:
    digest = hashlib.blake2b(repr(values).encode(), digest_size=12)
    for name, path in zip(names, paths):
        stat = os.stat(path)
        digest.update(f'{name}\x1f{stat.st_size}\x1f{stat.st_mtime_ns}\n'.encode())
    return digest.hexdigest()


def _read_journal(path: Path, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Counts (N, K) int64 and which rows have been counted, (N,) bool; a line that was cut off is dropped."""
    counts, done = np.zeros(shape, np.int64), np.zeros(shape[0], bool)
    if path.exists():
        width = 8 * (shape[1] + 1)
        content = path.read_bytes()
        content = content[:len(content) // width * width]
        path.write_bytes(content)
        lines = np.frombuffer(content, np.int64).reshape(-1, shape[1] + 1)
        counts[lines[:, 0]], done[lines[:, 0]] = lines[:, 1:], True
    return counts, done


def _read_cache(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    try:
        counts = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # no cache, or one that was cut off: count again
        return None
    return counts if counts.shape == shape and counts.dtype == np.int64 else None
