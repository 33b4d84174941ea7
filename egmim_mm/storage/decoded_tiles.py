"""Decoded tiles on disk, memory-mapped: of a tile that was decoded once, a crop costs a copy of its pixels."""
import hashlib
import io
import os
import shutil
from collections.abc import Callable
from os import PathLike
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from egmim_mm.records.whole_files import write_whole

from .tar_member import TarMember

__all__ = ['DecodedTiles']


class DecodedTiles:
    """A folder of decoded arrays, shared by all processes and runs; it may be deleted at any time.

    The operating system keeps in memory what is read often, once for all loader workers. Where nothing can be written
    (a read-only disk, or less than ``reserve_gb`` left) tiles are decoded each time, and the log says so once.

    Args:
        folder: Name of the cache folder below that of each tile, or an absolute path for all of them.
        reserve_gb: Free space that the cache leaves on the disk, GB. The default is our own choice.
    """

    def __init__(self, folder: str, reserve_gb: float = 10) -> None:
        self.folder, self.reserve = folder, int(reserve_gb * 1e9)
        self._writing = True

    def load(self, path: str | PathLike | TarMember, decode: Callable[[], np.ndarray], kind: str = '') -> np.ndarray:
        """The decoded array, from the cache if the file is still the one that was decoded.

        Args:
            path: The tile; its size and time are part of the key.
            decode: Reads it; called when it is not in the cache.
            kind: What else decides about the array, e.g. the table of mask values.

        Returns:
            np.ndarray: What ``decode`` gives; read-only.

        Raises:
            OSError: There is no such file.
        """
        file = self._file(path, kind)
        try:
            return np.asarray(np.load(file, mmap_mode='r'))
        except (OSError, ValueError, EOFError):  # not there yet, or damaged
            array = decode()
        array.flags.writeable = False
        if self._writing:
            self._write(file, array)
        return array

    def _file(self, path: str | PathLike | TarMember, kind: str) -> Path:
        if isinstance(path, TarMember):
            home, name, stamp = path.archive, path.name, (path.offset, path.size, path.stamp)
        else:
            stat = os.stat(path)
            home, name, stamp = path, path, (stat.st_size, stat.st_mtime_ns)
        key = repr((os.path.abspath(home), stamp, kind))
        digest = hashlib.blake2b(key.encode(), digest_size=12).hexdigest()
        return Path(home).parent / self.folder / f'{Path(name).stem}_{digest}.npy'

    def _write(self, file: Path, array: np.ndarray) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(file.parent).free
            if free - array.nbytes < self.reserve:
                raise OSError(f'{free / 1e9:.1f} GB are left on the disk, of which {self.reserve / 1e9:g} GB stay free')
            content = io.BytesIO()
            np.save(content, array)
            write_whole(file, content.getbuffer())
        except OSError as error:
            self._writing = False
            print_log(f'Tiles are decoded for every crop: {file.parent} cannot take more of them ({error}). Set '
                      'cache_dir of egmim_mm.LoadTile to a folder with room', logger='current')
