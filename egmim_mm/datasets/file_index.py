"""The image files of a large folder, listed once."""
from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from .image_files import SUFFIXES, walk_images
from .whole_files import write_whole

__all__ = ['indexed_images']

MIN_FILES = 20_000  # below it a listing takes a moment


def indexed_images(folder: str, suffixes: Sequence[str] = SUFFIXES, recursive: bool = True) -> list[str]:
    """As :func:`.image_files.find_images`; the answer of a large folder is kept in ``~/.cache/egmim_mm``.

    It is used as long as no folder below has changed its time, which a file that is added, removed or renamed does.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    key = repr((os.path.realpath(folder), tuple(suffixes), recursive))
    name = f'files_{hashlib.blake2b(key.encode(), digest_size=12).hexdigest()}.txt'
    index = Path('~/.cache/egmim_mm').expanduser() / name
    kept = _read(index)
    if kept is not None:
        return kept
    started = time.time_ns()
    files, folders = walk_images(folder, suffixes, recursive)
    if len(files) >= MIN_FILES:
        times = {os.path.abspath(path): os.stat(path).st_mtime_ns for path in folders}
        # A change within the same tick of the file system's clock would not show: such a list is not kept.
        if max(times.values()) < started - 2_000_000_000:
            try:
                write_whole(index, '\n'.join([json.dumps(times), *files]).encode())
            except (OSError, UnicodeEncodeError):  # no home, or names that are no text: list again next time
                return files
    return files


def _read(index: Path) -> list[str] | None:
    """The kept list, or None if there is none, it is damaged, or a folder has changed."""
    try:
        header, *files = index.read_text(encoding='utf-8').split('\n')
        times = json.loads(header)
        fresh = bool(files) and all(os.stat(path).st_mtime_ns == then for path, then in times.items())
    except (OSError, ValueError, AttributeError):
        return None
    return files if fresh else None
