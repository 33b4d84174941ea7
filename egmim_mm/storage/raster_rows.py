"""Rows of a raster as the model takes them, from top to bottom."""
from collections.abc import Sequence

import numpy as np

from .band_scaling import BandScaling
from .raster_cache import read_window, window_bands
from .rasters import open_raster
from .tile_reading import TileReadError

__all__ = ['RasterRows']

CHUNK = 128  # rows decoded and scaled at a time


class RasterRows:
    """``rows(top, height)`` reads whole rows: pixels (height, W, number) uint8 and validity (height, W) bool.

    A raster with one band serves a model of three, as greys do in training; palette files become RGB.

    Args:
        path: The raster.
        number: Bands the model takes.
        bands: Those of the file, from 1 on; None: all but alpha.
        scaling: To 8 bits; None: the samples are 8-bit.
        nodata: See :func:`.rasters.valid_pixels`.

    Raises:
        TileReadError: No raster, truncated, or other bands than the model takes.
    """

    def __init__(self, path: str, number: int, bands: Sequence[int] | None = None, scaling: BandScaling | None = None,
                 nodata: float | str | None = None) -> None:
        self.source = open_raster(path)
        self.bands, self.number, self.scaling, self.nodata = bands, number, scaling, nodata
        self.height, self.width = self.source.height, self.source.width
        try:
            count = window_bands(self.source, bands, scaling)
            if count != number and (count, number) != (1, 3):
                raise TileReadError(f'{path}: has {count} bands, the model takes {number}; choose them, for example '
                                    f'--bands {" ".join(map(str, range(1, number + 1)))}')
        except TileReadError:
            self.close()
            raise

    def __enter__(self) -> 'RasterRows':
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.source.close()

    def __call__(self, top: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """Read rows.

        Raises:
            TileReadError: Truncated or damaged.
        """
        parts = [read_window(self.source, start, 0, min(CHUNK, top + height - start), self.width, self.bands,
                             self.scaling, self.nodata) for start in range(top, top + height, CHUNK)]
        pixels, valid = (np.concatenate(arrays) for arrays in zip(*parts))
        return np.repeat(pixels, self.number, 2) if pixels.shape[2] == 1 < self.number else pixels, valid
