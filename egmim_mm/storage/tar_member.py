"""Files inside uncompressed tar archives, read by their position."""
import io
import os
from dataclasses import dataclass
from typing import Any, BinaryIO

__all__ = ['TarMember']


@dataclass(frozen=True)
class TarMember:
    """A file inside a tar archive; as text 'corpus-000003.tar: a/b.jpg'.

    The archive is opened for each read, which takes some ten microseconds: no handle that processes would share, and
    no limit on the number of archives.

    Args:
        archive: Path of the archive.
        name: Of the member.
        offset: Of its first byte in the archive.
        size: Bytes.
        stamp: Size and time (ns) that the archive had when the offset was noted.
    """

    archive: str
    name: str
    offset: int
    size: int
    stamp: tuple[int, int]

    def __str__(self) -> str:
        return f'{self.archive}: {self.name}'

    def open(self) -> BinaryIO:
        """The member as a seekable binary file.

        Raises:
            OSError: The archive cannot be opened, or is not the one it was.
        """
        file = open(self.archive, 'rb', buffering=0)
        stat = os.fstat(file.fileno())
        if (stat.st_size, stat.st_mtime_ns) != tuple(self.stamp):
            file.close()
            raise OSError('the archive has changed since it was indexed; start the run again')
        return io.BufferedReader(_Window(file, self.offset, self.size))

    def read(self) -> bytes:
        """All bytes of the member; raises as :meth:`open`."""
        with self.open() as file:
            return file.read()


class _Window(io.RawIOBase):
    """``size`` bytes of an open file from ``start`` on; closes the file with itself."""

    def __init__(self, file: io.FileIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self._size - self._at))
        self._file.seek(self._start + self._at)
        got = self._file.readinto(memoryview(buffer)[:wanted])
        self._at += got
        return got

    def close(self) -> None:
        self._file.close()
        super().close()
