"""Tar shards as webdataset writes them: which archives, and which of their members are images."""
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import compress

import numpy as np
from braceexpand import UnbalancedBracesError, braceexpand
from mmengine.logging import print_log

from .image_files import find_images
from .packed_names import PackedNames
from .tar_index import COMPRESSED, ShardIndex, shard_index
from .tar_member import TarMember
from .tile_reading import TileReadError

__all__ = ['ShardMembers', 'find_shards', 'list_lines', 'shard_images']

THREADS = 8  # indexing waits for the disk or the network; more threads only contend for the interpreter


def list_lines(path: str) -> list[str]:
    """Lines of a list file without the empty ones and those that begin with #."""
    with open(path, encoding='utf-8') as file:
        lines = [line.strip() for line in file]
    return [line for line in lines if line and not line.startswith('#')]


def find_shards(shards: str | Sequence[str], root: str) -> list[str]:
    """Paths of tar archives, in the order in which they are named.

    Args:
        shards: One or more of: an archive, a pattern with braces as in Bash ('corpus-{000000..000127}.tar'), a folder
            (all .tar files below it), a text file with one of these per line.
        root: Folder that relative names start from.

    Raises:
        FileNotFoundError: Something named does not exist, or a folder holds no .tar file.
        ValueError: Unbalanced braces, an address instead of a file, or an archive named twice.
    """
    archives: list[str] = []
    for entry in [shards] if isinstance(shards, str) else shards:
        for path in _expand(entry, root):
            is_list = os.path.isfile(path) and not path.lower().endswith(('.tar', *COMPRESSED))
            paths = [p for line in list_lines(path) for p in _expand(line, root)] if is_list else [path]
            for named in paths:
                archives += _below(named) if os.path.isdir(named) else [named]
    missing = [path for path in archives if not os.path.isfile(path)]
    if missing:
        raise FileNotFoundError(f'{len(missing)} of {len(archives)} shards do not exist: {", ".join(missing[:5])}')
    seen: set[str] = set()
    for path in archives:
        if os.path.realpath(path) in seen:
            raise ValueError(f'shard {path} is named twice')
        seen.add(os.path.realpath(path))
    return archives


def _expand(entry: str, root: str) -> list[str]:
    if '://' in entry or entry.startswith('pipe:'):
        raise ValueError(f"shard '{entry}': shards are read from mounted disks only; copy or mount it")
    try:
        return [os.path.normpath(os.path.join(root, path)) for path in braceexpand(entry)]
    except UnbalancedBracesError as error:
        raise ValueError(f"shard pattern '{entry}': {error}") from None


def _below(folder: str) -> list[str]:
    names = find_images(folder, ('.tar', *COMPRESSED))
    if not names:
        raise FileNotFoundError(f'no .tar files in folder {folder}')
    return [os.path.join(folder, name) for name in names]


class ShardMembers(Sequence):
    """The images of several archives: a read-only sequence of :class:`~.tar_member.TarMember`.

    Args:
        archives: A paths.
        stamps: A pairs, see :class:`~.tar_member.TarMember`.
        names: N paths in the archives.
        places: (N, 3) int64: number of the archive, offset, size.
    """

    def __init__(self, archives: Sequence[str], stamps: Sequence[tuple[int, int]], names: PackedNames,
                 places: np.ndarray) -> None:
        self.archives, self.stamps, self.names, self.places = tuple(archives), tuple(stamps), names, places

    @property
    def nbytes(self) -> int:
        """Memory, bytes."""
        return self.names.nbytes + self.places.nbytes

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> TarMember:
        archive, offset, size = self.places[index].tolist()
        return TarMember(self.archives[archive], self.names[index], offset, size, self.stamps[archive])


def shard_images(paths: Sequence[str], suffixes: Sequence[str],
                 skip: Callable[[Exception], None] | None = None) -> ShardMembers:
    """Images of archives, in the order of the archives and inside them.

    What follows the first dot of a file name has to be one of the suffixes, as webdataset has it: '.png' takes
    'a/b.png' and not 'a/b.mask.png'.

    Args:
        paths: Archives.
        suffixes: Without case.
        skip: Called with the error of an archive that cannot be used, or not to its end; None: it is raised.

    Raises:
        FileNotFoundError: No archive has an image.
        TileReadError: An archive cannot be used, or a sample has two images.
    """
    wanted = tuple(suffix.lower() for suffix in suffixes)
    blobs, places, stamps, archives, others = [], [], [], [], {}
    for path, future in _indexing(paths):
        try:
            index = future.result()
            chosen = _choose(path, index, wanted)
            if index.damage:
                error = TileReadError(f'{path}: {index.damage}, after {len(index.names)} files')
                if skip is None:
                    raise error
                skip(error)
        except TileReadError as error:
            if skip is None:
                raise
            skip(error)
            continue
        for code, number in enumerate(np.bincount(index.codes, minlength=len(index.extensions)).tolist()):
            others[index.extensions[code]] = others.get(index.extensions[code], 0) + number
        if not chosen.any():
            continue
        blobs.append(index.names.tobytes() if chosen.all() else PackedNames.of(
            compress(index.names, chosen.tolist())).tobytes())
        places.append(np.stack([np.full(chosen.sum(), len(archives)), index.offsets[chosen], index.sizes[chosen]], 1))
        archives.append(path)
        stamps.append(index.stamp)
    left_out = ', '.join(f'{number} {name}' for name, number in sorted(others.items()) if name not in wanted)
    if not archives:
        raise FileNotFoundError(f'no images ({", ".join(suffixes)}) in {len(paths)} shards, {paths[0]} the first; they '
                                f'hold {left_out or "no files"}')
    members = ShardMembers(archives, stamps, PackedNames(b'\0'.join(blobs)), np.concatenate(places))
    print_log(f'{len(members)} images in {len(archives)} of {len(paths)} shards' + (
        f'; not used: {left_out}' if left_out else ''), logger='current')
    return members


def _indexing(paths: Sequence[str]) -> Iterator[tuple[str, Future]]:
    """Each path with its index, or what failed, as soon as it is there; in order."""
    reported = time.monotonic()
    pool = ThreadPoolExecutor(min(THREADS, len(paths)))
    try:
        for number, (path, future) in enumerate([(path, pool.submit(shard_index, path)) for path in paths]):
            yield path, future
            if time.monotonic() - reported > 30:
                reported = time.monotonic()
                print_log(f'Indexed {number + 1} of {len(paths)} shards (once, then kept)', logger='current')
    finally:  # an error ends the start at once
        pool.shutdown(cancel_futures=True)


def _choose(path: str, index: ShardIndex, wanted: tuple[str, ...]) -> np.ndarray:
    """(N,) bool: the images."""
    codes = [code for code, extension in enumerate(index.extensions) if extension in wanted]
    chosen = np.isin(index.codes, codes)
    keys, counts = np.unique(index.keys[chosen], return_counts=True)
    if (counts > 1).any():
        rows = np.flatnonzero(chosen & (index.keys == keys[counts > 1][0]))
        both = ' and '.join(index.names[row] for row in rows.tolist())
        raise TileReadError(f'{path}: one sample has several images, {both}; say which with suffixes=')
    return chosen
