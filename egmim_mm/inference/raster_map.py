"""Maps as files that keep their place on the ground: written row by row, there whole or not at all."""
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.windows import Window

from egmim_mm.records import whole_file
from egmim_mm.storage.rasters import WRITE_OPTIONS, is_placed, open_raster
from egmim_mm.storage.tile_reading import TileReadError

from .blending import NODATA

__all__ = ['PROBABILITY_STEPS', 'SETTINGS', 'MapRows', 'map_draft', 'place_of', 'quiet_gdal', 'read_settings']

BLOCK = 512
PROBABILITY_STEPS = 250  # a probability of 1 in the file
SETTINGS = 'EGMIM_MM'  # the tag that says how a map was made


@contextmanager
def quiet_gdal() -> Iterator[None]:
    """GDAL as maps are written: its options, and no warning about maps that have no place."""
    with warnings.catch_warnings(), rasterio.Env(**WRITE_OPTIONS):
        warnings.simplefilter('ignore', NotGeoreferencedWarning)
        yield


def place_of(source: DatasetReader) -> dict[str, Any]:
    """Size of an open raster, px, and where it lies, as ``rasterio.open`` takes them: what its maps take over."""
    gcps, gcps_crs = source.gcps
    ground = dict(gcps=gcps, crs=gcps_crs) if gcps else dict(crs=source.crs)
    if is_placed(source):
        ground['transform'] = source.transform
    return dict(height=source.height, width=source.width, **ground)


class MapRows:
    """The rows of a map, written from top to bottom; they reach the file in whole blocks."""

    def __init__(self, file: DatasetWriter) -> None:
        self._file = file
        self._buffer = np.empty((file.count, min(BLOCK, file.height), file.width), np.uint8)
        self._top = self._filled = 0

    def write(self, rows: np.ndarray) -> None:
        """Add the next rows, (bands, rows, W) uint8."""
        while rows.shape[1]:
            count = min(rows.shape[1], self._buffer.shape[1] - self._filled)
            self._buffer[:, self._filled:self._filled + count] = rows[:, :count]
            self._filled += count
            if self._filled == self._buffer.shape[1]:
                self.flush()
            rows = rows[:, count:]

    def add(self, part: Path) -> None:
        """Add the rows of a map that holds some of them.

        Raises:
            TileReadError, RasterioError: It is not there, or not whole.
        """
        with quiet_gdal(), open_raster(part) as source:
            for top in range(0, source.height, BLOCK):
                self.write(source.read(window=Window(0, top, source.width, min(BLOCK, source.height - top))))

    def flush(self) -> None:
        """Write what is left of a block."""
        if self._filled:
            with quiet_gdal():
                self._file.write(self._buffer[:, :self._filled],
                                 window=Window(0, self._top, self._buffer.shape[2], self._filled))
        self._top, self._filled = self._top + self._filled, 0


@contextmanager
def map_draft(target: Path, place: dict[str, Any], names: Sequence[str], palette: np.ndarray | None = None,
              settings: str = '', is_part: bool = False) -> Iterator[MapRows]:
    """A map in the making. At the end it becomes a cloud-optimised GeoTIFF with overviews, or a PNG if so named.

    Args:
        target: The file to be.
        place: See :func:`place_of`.
        names: One for each band.
        palette: (K, 3) uint8 RGB of a class map. None: bands of probabilities, ``PROBABILITY_STEPS`` for 1.
        settings: Text kept in the file, see :func:`read_settings`.
        is_part: The target is for :meth:`MapRows.add`, and stays a plain GeoTIFF.

    Raises:
        OSError, RasterioError: The file cannot be written; nothing of it is left.
    """
    with whole_file(target) as result, ExitStack() as stack:
        draft = result
        if not is_part:
            draft = result.with_suffix('.draft')
            stack.callback(draft.unlink, missing_ok=True)
        with quiet_gdal():
            file = stack.enter_context(rasterio.open(
                draft, 'w', driver='GTiff', count=len(names), dtype='uint8', nodata=NODATA, tiled=True,
                blockxsize=BLOCK, blockysize=BLOCK, compress='deflate', zlevel=1, bigtiff='IF_SAFER',
                **place, **(dict(photometric='palette') if palette is not None else {})))
            if palette is not None:
                file.write_colormap(1, {NODATA: (0, 0, 0, 0), **{i: (*map(int, color), 255)
                                                                 for i, color in enumerate(palette)}})
            else:
                file.scales = [1 / PROBABILITY_STEPS] * len(names)
            file.descriptions = tuple(names)
            file.update_tags(**{SETTINGS: settings})
        rows = MapRows(file)
        yield rows
        rows.flush()
        with quiet_gdal():
            file.close()
            if is_part:
                return
            if target.suffix.lower() == '.png':
                options = dict(driver='PNG', write_metadata_as_text='YES')
            else:
                options = dict(driver='COG', compress='deflate', blocksize=BLOCK, bigtiff='IF_SAFER',
                               overview_resampling='mode' if palette is not None else 'average')
            rasterio.shutil.copy(str(draft), str(result), **options)


def read_settings(path: str | Path) -> str | None:
    """How a map was made, as given to :func:`map_draft`; None if there is no such file or it is none of ours."""
    try:
        with open_raster(path) as source:
            return source.tags().get(SETTINGS)
    except TileReadError:
        return None
