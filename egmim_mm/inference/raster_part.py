"""Finished rows of a map on their way from one process to another."""
import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .blending import Grid

__all__ = ['PartDraft', 'read_part']


def _path(target: Path, run: str, rows: range) -> Path:
    return target.with_name(f'.{target.name}.{run}.{rows.start}.part')


class PartDraft:
    """Some strips of a map in a hidden, compressed file beside it; removed unless :meth:`finish` is called.

    Args:
        target: The map.
        run: Tells the files of this run from those of others.
        rows: Rows of windows whose strips they are.
    """

    def __init__(self, target: Path, run: str, rows: range) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path = _path(target, run, rows)
        self._file, self._finished = gzip.open(self.path, 'wb', compresslevel=1), False

    def write(self, rows: np.ndarray) -> None:
        """Add a strip, (bands, rows, W) uint8."""
        self._file.write(np.ascontiguousarray(rows).data)

    def finish(self) -> Path:
        """Keep the file, and say where it is."""
        self._file.close()
        self._finished = True
        return self.path

    def __enter__(self) -> 'PartDraft':
        return self

    def __exit__(self, *_) -> None:
        try:
            self._file.close()
        finally:
            if not self._finished:
                self.path.unlink(missing_ok=True)


def read_part(target: Path, run: str, rows: range, grid: Grid, bands: int) -> Iterator[np.ndarray]:
    """The strips of a part, (bands, rows, W) uint8 each, from top to bottom.

    Raises:
        OSError: The file is not there, or not whole.
    """
    path = _path(target, run, rows)
    with gzip.open(path, 'rb') as file:
        for row in rows:
            below = grid.tops[row + 1] if row + 1 < len(grid.tops) else grid.image_height
            shape = (bands, below - grid.tops[row], grid.image_width)
            content = file.read(int(np.prod(shape)))
            if len(content) < np.prod(shape):
                raise OSError(f'{path} is not whole')
            yield np.frombuffer(content, np.uint8).reshape(shape)
