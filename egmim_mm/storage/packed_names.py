"""A million names in two arrays: no Python object for each, nothing to copy when a worker process forks."""
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

__all__ = ['FilePaths', 'ImageTable', 'PackedNames']


class PackedNames(Sequence):
    """Read-only sequence of non-empty strings without NUL, which no file system allows in a name.

    Args:
        blob: The names in UTF-8 (undecodable bytes as ``os.fsdecode`` gives them), parted by NUL; empty: no names.
    """

    def __init__(self, blob: bytes) -> None:
        self._blob = np.frombuffer(blob, np.uint8)
        ends = np.flatnonzero(self._blob == 0)
        self._ends = np.append(ends, len(blob)) if blob else ends

    @classmethod
    def of(cls, names: Iterable[str]) -> 'PackedNames':
        """Pack names."""
        return cls('\0'.join(names).encode('utf-8', 'surrogateescape'))

    def tobytes(self) -> bytes:
        """What the constructor takes."""
        return self._blob.tobytes()

    @property
    def nbytes(self) -> int:
        """Memory, bytes."""
        return self._blob.nbytes + self._ends.nbytes

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        index = range(len(self))[index]  # negative indices, IndexError
        start = self._ends[index - 1] + 1 if index else 0
        return self._blob[start:self._ends[index]].tobytes().decode('utf-8', 'surrogateescape')

    def __iter__(self) -> Iterator[str]:
        if not len(self):
            return iter(())
        return iter(self.tobytes().decode('utf-8', 'surrogateescape').split('\0'))


class FilePaths(Sequence):
    """Paths of files: each name below ``root``, or as it is if it is absolute.

    Args:
        root: The folder.
        names: With '/'.
    """

    def __init__(self, root: str, names: PackedNames) -> None:
        self.root, self.names = root, names

    @property
    def nbytes(self) -> int:
        """Memory, bytes."""
        return self.names.nbytes

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> str:
        return os.path.join(self.root, self.names[index])


class ImageTable(Sequence):
    """Entries of a data set of images, made when they are asked for.

    An entry is ``dict(img_path, header_checked)``, with ``tar_member`` for an image in an archive. A slice is a table.

    Args:
        sources: Paths or ``TarMember`` objects.
        rows: (N,) int: which of them, in this order; None: all.
        checked: (len(sources),) bool: those whose header has been looked at; None: none.
    """

    def __init__(self, sources: Sequence, rows: np.ndarray | None = None, checked: np.ndarray | None = None) -> None:
        self.sources = sources
        self.rows = np.arange(len(sources)) if rows is None else np.asarray(rows, np.int64)
        self.checked = np.zeros(len(sources), bool) if checked is None else checked

    @property
    def nbytes(self) -> int:
        """Memory, bytes."""
        return self.sources.nbytes + self.rows.nbytes + self.checked.nbytes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | slice) -> 'dict | ImageTable':
        if isinstance(index, slice):
            return ImageTable(self.sources, self.rows[index], self.checked)
        row = self.rows[index]
        source = self.sources[row]
        entry = dict(img_path=str(source), header_checked=bool(self.checked[row]))
        return entry if isinstance(source, str) else dict(entry, tar_member=source)
