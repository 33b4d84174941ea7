"""Maps as files that keep their place on the ground: written row by row, there whole or not at all."""
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from egmim_mm.storage.raster_rows import GDAL_OPTIONS

from .blending import NODATA

__all__ = ['PROBABILITY_STEPS', 'SETTINGS', 'MapDraft', 'PartDraft', 'Place', 'quiet_gdal', 'read_settings']

BLOCK = 512
PROBABILITY_STEPS = 250  # a probability of 1 in the file
SETTINGS = 'EGMIM_MM'  # the tag that says how a map was made


@contextmanager
def quiet_gdal() -> Iterator[None]:
    """GDAL as maps are read and written: its options, and no warning about maps that have no place."""
    with warnings.catch_warnings(), rasterio.Env(**GDAL_OPTIONS):
        warnings.simplefilter('ignore', NotGeoreferencedWarning)
        yield


@dataclass(frozen=True)
class Place:
    """Size of a raster, px, and where it lies: what its maps take over."""

    height: int
    width: int
    crs: CRS | None
    transform: Affine
    gcps: tuple[GroundControlPoint, ...]
    gcps_crs: CRS | None

    @classmethod
    def of(cls, source: DatasetReader) -> 'Place':
        """That of an open raster."""
        gcps, gcps_crs = source.gcps
        return cls(source.height, source.width, source.crs, source.transform, tuple(gcps), gcps_crs)

    def profile(self) -> dict[str, Any]:
        """As ``rasterio.open`` takes it."""
        ground = dict(gcps=list(self.gcps), crs=self.gcps_crs) if self.gcps else dict(crs=self.crs)
        if not self.transform.is_identity:
            ground['transform'] = self.transform
        return dict(height=self.height, width=self.width, **ground)


class _Draft:
    """A hidden GeoTIFF beside the file that it becomes, written from top to bottom; removed when the block ends.

    Args:
        target: The file to be; its folder is made.
        count: Number of bands.
        profile: Size and the rest for ``rasterio.open``.
    """

    def __init__(self, target: Path, count: int, **profile) -> None:
        self.target = target
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self._draft, self._result = (target.with_name(f'.{target.stem}.{os.getpid()}.{kind}')
                                     for kind in ('draft', 'result'))
        with quiet_gdal():
            self._file = rasterio.open(
                self._draft, 'w', driver='GTiff', count=count, dtype='uint8', nodata=NODATA, tiled=True,
                blockxsize=BLOCK, blockysize=BLOCK, compress='deflate', zlevel=1, bigtiff='IF_SAFER', **profile)
        self._buffer = np.empty((count, min(BLOCK, self._file.height), self._file.width), np.uint8)
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
        with quiet_gdal():
            self._file.write(self._buffer[:, :self._filled],
                             window=Window(0, self._top, self._buffer.shape[2], self._filled))
        self._top, self._filled = self._top + self._filled, 0

    def _close(self) -> None:
        if self._filled:
            self._flush()
        with quiet_gdal():
            self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        with quiet_gdal():
            self._file.close()
        for path in (self._draft, self._result):
            path.unlink(missing_ok=True)


class PartDraft(_Draft):
    """Some rows of a map: a GeoTIFF without a place, from which :meth:`MapDraft.add` takes them.

    Args:
        target: The file to be.
        bands, height, width: Its size.
    """

    def __init__(self, target: Path, bands: int, height: int, width: int) -> None:
        super().__init__(target, bands, height=height, width=width)

    def finish(self) -> Path:
        """Write what is left and make the target, which is returned."""
        self._close()
        return self._draft.replace(self.target)


class MapDraft(_Draft):
    """A map in the making. It becomes a cloud-optimised GeoTIFF with overviews, or a PNG if the name ends in .png.

    Args:
        target: The file to be.
        place: Size and place of the raster.
        names: One for each band.
        palette: (K, 3) uint8 RGB of a class map. None: bands of probabilities, ``PROBABILITY_STEPS`` for 1.
        settings: Text kept in the file, see :func:`read_settings`.
    """

    def __init__(self, target: Path, place: Place, names: Sequence[str], palette: np.ndarray | None = None,
                 settings: str = '') -> None:
        super().__init__(target, len(names), **place.profile(),
                         **(dict(photometric='palette') if palette is not None else {}))
        self._is_map = palette is not None
        with quiet_gdal():
            if palette is not None:
                self._file.write_colormap(1, {NODATA: (0, 0, 0, 0), **{i: (*map(int, color), 255)
                                                                       for i, color in enumerate(palette)}})
            else:
                self._file.scales = [1 / PROBABILITY_STEPS] * len(names)
            self._file.descriptions = tuple(names)
            self._file.update_tags(**{SETTINGS: settings})

    def add(self, part: Path) -> None:
        """Add the rows of a :class:`PartDraft`'s file.

        Raises:
            RasterioError: It is not there, or not whole.
        """
        with quiet_gdal(), rasterio.open(part) as source:
            for top in range(0, source.height, BLOCK):
                self.write(source.read(window=Window(0, top, source.width, min(BLOCK, source.height - top))))

    def finish(self) -> None:
        """Write what is left and make the target."""
        self._close()
        if self.target.suffix.lower() == '.png':
            options = dict(driver='PNG', write_metadata_as_text='YES')
        else:
            options = dict(driver='COG', compress='deflate', blocksize=BLOCK, bigtiff='IF_SAFER',
                           overview_resampling='mode' if self._is_map else 'average')
        with quiet_gdal():
            rasterio.shutil.copy(str(self._draft), str(self._result), **options)
        self._result.replace(self.target)


def read_settings(path: str | Path) -> str | None:
    """How a map was made, as given to :class:`MapDraft`; None if there is no such file or it is none of ours."""
    try:
        with quiet_gdal(), rasterio.open(path) as source:
            return source.tags().get(SETTINGS)
    except RasterioError:
        return None
