"""Listing image files."""
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

__all__ = ['SUFFIXES', 'find_images', 'matches_any', 'walk_images']

SUFFIXES = ('.jpg', '.jpeg', '.png', '.tif', '.tiff', '.bmp', '.webp')


def matches_any(patterns: str | Sequence[str] | None, *texts: str) -> bool:
    """Whether one of the texts matches one of the shell patterns (case-sensitive); None matches all."""
    if patterns is None:
        return True
    patterns = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatchcase(text, pattern) for text in texts for pattern in patterns)


def find_images(folder: str, suffixes: Sequence[str] = SUFFIXES, recursive: bool = True) -> list[str]:
    """Paths relative to ``folder`` with '/', sorted; suffixes without case; hidden names left out.

    Linked folders are followed, each only once.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    return walk_images(folder, suffixes, recursive)[0]


def walk_images(folder: str, suffixes: Sequence[str] = SUFFIXES,
                recursive: bool = True) -> tuple[list[str], list[str]]:
    """What :func:`find_images` gives, and the paths of the folders that were searched."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(f'folder {folder} does not exist')
    endings = tuple(suffix.lower() for suffix in suffixes)
    images, visited, searched = [], set(), []
    for base, folders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(base) in visited:  # a link back up would never end
            folders.clear()
            continue
        visited.add(os.path.realpath(base))
        searched.append(base)
        folders[:] = sorted(f for f in folders if not f.startswith('.')) if recursive else []
        below = Path(base).relative_to(folder).as_posix()
        prefix = '' if below == '.' else f'{below}/'
        images += [prefix + f for f in files if f.lower().endswith(endings) and not f.startswith('.')]
    return sorted(images), searched
