"""Where the members of a tar archive lie, listed once."""
import io
import os
import re
import tarfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from egmim_mm.records import write_whole

from .file_index import kept_file
from .packed_names import PackedNames
from .tile_reading import TileReadError

__all__ = ['COMPRESSED', 'ShardIndex', 'shard_index']

COMPRESSED = ('.tar.gz', '.tgz', '.tar.bz2', '.tbz2', '.tar.xz', '.txz', '.tar.zst', '.tar.lz4')
# webdataset's rules: a sample is named by its path up to the first dot of the file name; __meta__ files are no samples
_KEY = re.compile(r'((?:.*/|)[^./][^./]*)([.][^/]*)', re.DOTALL)
_MOST_PADDING = 2**20  # bytes of zeros behind the last member; tar writes ten thousand
_META = re.compile(r'__[^/]*__($|/)')


@dataclass(frozen=True)
class ShardIndex:
    """N members of an archive.

    Args:
        names: N paths in the archive.
        extensions: Those that occur, lower case: '.jpg', '.seg.png'.
        codes: (N,) place in ``extensions``.
        keys: (N,) number of the sample, equal for members that differ in their extension alone.
        offsets, sizes: (N,) int64, bytes.
        stamp: Size and time (ns) of the archive.
        damage: What is wrong with the archive after these members; empty: nothing.
    """

    names: PackedNames
    extensions: tuple[str, ...]
    codes: np.ndarray
    keys: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    stamp: tuple[int, int]
    damage: str = ''


def shard_index(path: str) -> ShardIndex:
    """Index of an uncompressed tar archive; that of an undamaged one is kept in ``~/.cache/egmim_mm``.

    It is used as long as the archive has the same size and time. Members are regular files and hard links to them;
    hidden files, links, and what webdataset calls meta data are left out.

    Raises:
        FileNotFoundError: There is no such file.
        TileReadError: The archive is compressed, empty or no tar archive, or a member occurs twice.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'shard {path} does not exist')
    if path.lower().endswith(COMPRESSED):
        raise TileReadError(f'{path}: a compressed archive has no random access; unpack it to .tar (images are '
                            'compressed already)')
    stat = os.stat(path)
    stamp, kept = (stat.st_size, stat.st_mtime_ns), kept_file('shard', os.path.realpath(path), 'npz')
    index = _read(kept, stamp)
    if index is None:
        index = _scan(path, stamp)
        if not index.damage:
            with suppress(OSError):  # no home, or a full one: index again next time
                write_whole(kept, _to_bytes(index))
    return index


def _scan(path: str, stamp: tuple[int, int]) -> ShardIndex:
    names, places, damage = [], {}, ''
    codes, keys, offsets, sizes = [], [], [], []
    extension_codes: dict[str, int] = {}
    key_numbers: dict[str, int] = {}
    try:
        with tarfile.open(path, 'r:') as archive:
            empty = archive.firstmember is None  # Python 3.10 fails in the next of an empty archive
            while True:
                try:
                    member = None if empty else archive.next()
                except (tarfile.TarError, OSError) as error:
                    damage = f'truncated or damaged ({error})'
                    break
                if member is None:
                    damage = _after_end(path, archive.offset)
                    break
                archive.members = []  # tarfile would keep them all
                parts = _KEY.fullmatch(member.name)
                place = (member.offset_data, member.size) if member.isreg() else places.get(member.linkname)
                if not (member.isreg() or member.islnk()) or not parts or not place or _META.match(member.name):
                    continue
                if member.issparse():
                    raise TileReadError(f'{path}: {member.name} is stored as a sparse file; pack it with tar without '
                                        '--sparse')
                if sum(place) > stamp[0]:
                    damage = f'truncated inside {member.name}'
                    break
                if member.name in places:
                    raise TileReadError(f'{path}: holds {member.name} twice')
                places[member.name] = place
                names.append(member.name)
                offsets.append(place[0])
                sizes.append(place[1])
                codes.append(extension_codes.setdefault(parts[2].lower(), len(extension_codes)))
                keys.append(key_numbers.setdefault(parts[1], len(key_numbers)))
    except (tarfile.TarError, OSError) as error:
        raise TileReadError(f'{path}: not an uncompressed tar archive, empty, or unreadable ({error})') from error
    return ShardIndex(PackedNames.of(names), tuple(extension_codes), np.array(codes, np.int32),
                      np.array(keys, np.int32), np.array(offsets, np.int64), np.array(sizes, np.int64), stamp, damage)


def _after_end(path: str, end: int) -> str:
    """What is wrong behind the last member: an archive ends with blocks of zeros."""
    with open(path, 'rb') as file:
        file.seek(end)
        rest = file.read(_MOST_PADDING)
    if len(rest) < tarfile.BLOCKSIZE:
        return 'truncated: the end of the archive is missing'
    if rest[:tarfile.BLOCKSIZE].strip(b'\0'):
        return f'damaged at byte {end}'
    return 'more data follows the end of the archive, as of two archives in one file' if rest.strip(b'\0') else ''


def _to_bytes(index: ShardIndex) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, names=np.frombuffer(index.names.tobytes(), np.uint8), codes=index.codes, keys=index.keys,
             extensions=np.frombuffer(PackedNames.of(index.extensions).tobytes(), np.uint8),
             offsets=index.offsets, sizes=index.sizes, stamp=np.array(index.stamp, np.int64))
    return buffer.getvalue()


def _read(kept: os.PathLike, stamp: tuple[int, int]) -> ShardIndex | None:
    """The kept index, or None if there is none, it is damaged, or the archive has changed."""
    try:
        with np.load(kept, allow_pickle=False) as arrays:
            if tuple(arrays['stamp'].tolist()) != stamp:
                return None
            names, extensions = (PackedNames(arrays[key].tobytes()) for key in ('names', 'extensions'))
            return ShardIndex(names, tuple(extensions), arrays['codes'], arrays['keys'], arrays['offsets'],
                              arrays['sizes'], stamp)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
