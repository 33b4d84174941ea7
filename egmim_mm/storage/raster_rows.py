"""Rows of a raster as the model takes them, from top to bottom."""
import struct
from collections.abc import Sequence

import numpy as np
import rasterio
from PIL import Image
from rasterio.enums import ColorInterp

from .band_scaling import BandScaling, image_bands, open_raster
from .raster_cache import read_window
from .tile_reading import TileReadError

__all__ = ['GDAL_OPTIONS', 'RasterRows']

# A truncated JPEG is an error and not grey pixels, no .aux.xml files beside other people's data, and a block cache that
# does not grow with the raster (bytes; GDAL's own limit is a share of the machine's memory).
GDAL_OPTIONS = dict(GDAL_ERROR_ON_LIBJPEG_WARNING='YES', GDAL_PAM_ENABLED='NO', GDAL_CACHEMAX=64 * 2**20)
CHUNK = 128  # rows decoded and scaled at a time


class RasterRows:
    """``rows(top, height)`` reads whole rows: pixels (height, W, number) uint8 and validity (height, W) bool.

    A raster with one band serves a model of three, as greys do in training; palette files become RGB.

    Args:
        path: The raster.
        number: Bands the model takes.
        bands: Those of the file, from 1 on; None: all but alpha.
        scaling: To 8 bits; None: the samples are 8-bit.

    Raises:
        TileReadError: No raster, truncated, or other bands than the model takes.
    """

    def __init__(self, path: str, number: int, bands: Sequence[int] | None = None,
                 scaling: BandScaling | None = None) -> None:
        with rasterio.Env(**GDAL_OPTIONS):
            self.source = open_raster(str(path))
        self.bands, self.number, self.scaling = list(bands or image_bands(self.source)), number, scaling
        self.height, self.width = self.source.height, self.source.width
        try:
            self._check(str(path))
        except TileReadError:
            self.close()
            raise

    def _check(self, path: str) -> None:
        palette = self.source.colorinterp[0] == ColorInterp.palette
        self._palette = _color_table(self.source) if palette else None
        count = 3 if palette else len(self.bands)
        if count != self.number and (count, self.number) != (1, 3):
            raise TileReadError(f'{path}: has {count} bands, the model takes {self.number}; choose them, for example '
                                f'--bands {" ".join(map(str, range(1, self.number + 1)))}')
        if self.source.driver == 'PNG':
            _check_png(path)

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
            TileReadError: Truncated or damaged, or samples that are not 8-bit and no scaling.
        """
        with rasterio.Env(**GDAL_OPTIONS):
            parts = [read_window(self.source, start, 0, min(CHUNK, top + height - start), self.width, self.bands,
                                 self.scaling) for start in range(top, top + height, CHUNK)]
        pixels, valid = (np.concatenate(arrays) for arrays in zip(*parts))
        if self._palette is not None:
            pixels = self._palette[pixels[..., 0]]
        return np.repeat(pixels, self.number, 2) if pixels.shape[2] == 1 < self.number else pixels, valid


def _color_table(source) -> np.ndarray:
    table = np.zeros((256, 3), np.uint8)
    for index, color in source.colormap(1).items():
        table[index] = color[:3]
    return table


def _check_png(path: str) -> None:
    """GDAL gives the pixels that a truncated PNG has no data for as zeros, without a word."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # nothing is decoded: no size is too large
    try:
        with Image.open(path) as image:
            image.verify()
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise TileReadError(f'{path}: truncated or damaged ({error})') from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit
