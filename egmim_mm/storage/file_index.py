"""The image files of a large folder, listed once."""
import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from egmim_mm.records import write_whole

from .image_files import SUFFIXES, walk_images
from .packed_names import PackedNames

__all__ = ['indexed_images', 'kept_file', 'missing_files']

MIN_FILES = 20_000  # below it a listing takes a moment
FEW = 50  # so many files of a folder are asked for one by one; of more, the folder is listed


def kept_file(kind: str, key: str, suffix: str) -> Path:
    """File in ``~/.cache/egmim_mm`` for an answer to the question ``key``."""
    name = f'{kind}_{hashlib.blake2b(os.fsencode(key), digest_size=12).hexdigest()}.{suffix}'
    return Path('~/.cache/egmim_mm').expanduser() / name


def indexed_images(folder: str, suffixes: Sequence[str] = SUFFIXES, recursive: bool = True) -> PackedNames:
    """As :func:`.image_files.find_images`; the answer of a large folder is kept in ``~/.cache/egmim_mm``.

    It is used as long as no folder below has changed its time, which a file that is added, removed or renamed does.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    index = kept_file('files', repr((os.path.realpath(folder), tuple(suffixes), recursive)), 'names')
    kept = _read(index)
    if kept is not None:
        return kept
    started = time.time_ns()
    files, folders = walk_images(folder, suffixes, recursive)
    names = PackedNames.of(files)
    if len(files) >= MIN_FILES:
        times = {os.path.abspath(path): os.stat(path).st_mtime_ns for path in folders}
        # A change within the same tick of the file system's clock would not show: such a list is not kept.
        if max(times.values()) < started - 2_000_000_000:
            with suppress(OSError):  # no home, or a full one: list again next time
                write_whole(index, json.dumps(times).encode() + b'\0' + names.tobytes())
    return names


def _read(index: Path) -> PackedNames | None:
    """The kept list, or None if there is none, it is damaged, or a folder has changed."""
    try:
        header, _, names = index.read_bytes().partition(b'\0')
        times = json.loads(header)
        fresh = bool(names) and all(os.stat(path).st_mtime_ns == then for path, then in times.items())
    except (OSError, ValueError, AttributeError):
        return None
    return PackedNames(names) if fresh else None


def missing_files(names: Sequence[str], root: str) -> list[str]:
    """Those names that are no file below ``root``; a folder that many of them lie in is listed once."""
    by_folder: dict[str, list[str]] = {}
    for name in names:
        by_folder.setdefault(name.rpartition('/')[0], []).append(name)
    missing = []
    for folder, inside in by_folder.items():
        if len(inside) <= FEW:
            there = {name for name in inside if os.path.isfile(os.path.join(root, name))}
        else:
            prefix = f'{folder}/' if folder or inside[0].startswith('/') else ''
            there = {prefix + name for name in _files_in(os.path.join(root, prefix))}
        missing += [name for name in inside if name not in there]
    return missing


def _files_in(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return []
