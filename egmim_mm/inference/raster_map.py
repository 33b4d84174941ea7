"""Maps as files that keep their place on the ground: written strip by strip, there whole or not at all."""
import os
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
import rasterio.windows
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from egmim_mm.storage.raster_rows import GDAL_OPTIONS

from .blending import NODATA

__all__ = ['PROBABILITY_STEPS', 'SETTINGS', 'MapDraft', 'quiet_gdal', 'read_settings']

BLOCK = 512
PROBABILITY_STEPS = 250  # a probability of 1 in the file
SETTINGS = 'EGMIM_MM'  # the tag that says how a map was made


@contextmanager
def quiet_gdal():
    """GDAL as maps are read and written: its options, and no warning about maps that have no place."""
    with warnings.catch_warnings(), rasterio.Env(**GDAL_OPTIONS):
        warnings.simplefilter('ignore', NotGeoreferencedWarning)
        yield


class MapDraft:
    """A map in the making: a hidden file beside ``target``, which :meth:`finish` turns into it.

    The target is a cloud-optimised GeoTIFF with overviews, or a PNG file if it ends in .png.

    Args:
        target: The file to be.
        source: Open raster whose size and place the map takes over.
        names: One for each band.
        palette: (K, 3) uint8 RGB of a class map. None: bands of probabilities, ``PROBABILITY_STEPS`` for 1.
        settings: Text kept in the file, see :func:`read_settings`.
    """

    def __init__(self, target: str | Path, source, names: Sequence[str], palette: np.ndarray | None = None,
                 settings: str = '') -> None:
        self.target = Path(target)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self._draft, self._result = (self.target.with_name(f'.{self.target.stem}.{os.getpid()}.{kind}')
                                     for kind in ('draft', 'result'))
        gcps, gcps_crs = source.gcps
        place = dict(gcps=gcps, crs=gcps_crs) if gcps else dict(crs=source.crs)
        if not source.transform.is_identity:
            place['transform'] = source.transform
        with quiet_gdal():
            self._file = rasterio.open(
                self._draft, 'w', driver='GTiff', height=source.height, width=source.width, count=len(names),
                dtype='uint8', nodata=NODATA, tiled=True, blockxsize=BLOCK, blockysize=BLOCK, compress='deflate',
                zlevel=1, bigtiff='IF_SAFER', **place, **(dict(photometric='palette') if palette is not None else {}))
            if palette is not None:
                self._file.write_colormap(1, {NODATA: (0, 0, 0, 0), **{i: (*map(int, color), 255)
                                                                       for i, color in enumerate(palette)}})
            else:
                self._file.scales = [1 / PROBABILITY_STEPS] * len(names)
            self._file.descriptions = tuple(names)
            self._file.update_tags(**{SETTINGS: settings})
        self._is_map = palette is not None
        self._buffer = np.empty((len(names), min(BLOCK, source.height), source.width), np.uint8)
        self._top = self._filled = 0

    def write(self, rows: np.ndarray) -> None:
        """Add the next rows, (bands, rows, W) uint8; they reach the file in whole blocks."""
        while rows.shape[1]:
            count = min(rows.shape[1], self._buffer.shape[1] - self._filled)
            self._buffer[:, self._filled:self._filled + count] = rows[:, :count]
            self._filled += count
            if self._filled == self._buffer.shape[1]:
                self._flush()
            rows = rows[:, count:]

    def _flush(self) -> None:
        window = rasterio.windows.Window(0, self._top, self._buffer.shape[2], self._filled)
        with quiet_gdal():
            self._file.write(self._buffer[:, :self._filled], window=window)
        self._top, self._filled = self._top + self._filled, 0

    def finish(self) -> None:
        """Write what is left and make the target."""
        if self._filled:
            self._flush()
        with quiet_gdal():
            self._file.close()
            if self.target.suffix.lower() == '.png':
                options = dict(driver='PNG', write_metadata_as_text='YES')
            else:
                options = dict(driver='COG', compress='deflate', blocksize=BLOCK, bigtiff='IF_SAFER',
                               overview_resampling='mode' if self._is_map else 'average')
            rasterio.shutil.copy(str(self._draft), str(self._result), **options)
        os.replace(self._result, self.target)

    def __enter__(self) -> 'MapDraft':
        return self

    def __exit__(self, *_) -> None:
        with quiet_gdal():
            self._file.close()
        for path in (self._draft, self._result):
            path.unlink(missing_ok=True)


def read_settings(path: str | Path) -> str | None:
    """How a map was made, as given to :class:`MapDraft`; None if there is no such file or it is none of ours."""
    try:
        with quiet_gdal(), rasterio.open(path) as source:
            return source.tags().get(SETTINGS)
    except RasterioError:
        return None
