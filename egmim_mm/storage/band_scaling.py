"""From the samples of a raster's bands to 8 bits, measured once for all rasters."""
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from .tile_reading import TileReadError

__all__ = ['BandScaling', 'image_bands', 'load_scaling', 'measure_bands', 'open_raster']


@dataclass(frozen=True)
class BandScaling:
    """Values that become 0 and 255.

    Args:
        low (tuple): For each band.
        high (tuple): For each band, above ``low``.

    Raises:
        ValueError: Different lengths, or a ``high`` that is not above its ``low``.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or not all(low < high for low, high in zip(self.low, self.high)):
            raise ValueError(f'band scaling low={self.low}, high={self.high}: each band needs a high above its low')

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """(..., bands) of any type -> (..., bands) uint8; values outside are clipped, NaN becomes 0."""
        low, high = (np.asarray(values, np.float32) for values in (self.low, self.high))
        scaled = (pixels.astype(np.float32) - low) * (255 / (high - low))
        return np.clip(np.nan_to_num(scaled), 0, 255).round().astype(np.uint8)


def load_scaling(path: str) -> BandScaling:
    """Scaling that tools/measure_bands.py wrote.

    Raises:
        ValueError: Not such a file.
    """
    try:
        with open(path, encoding='utf-8') as file:
            bands = json.load(file)['bands']
        return BandScaling(tuple(b['low'] for b in bands), tuple(b['high'] for b in bands))
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f'{path} is not a file of tools/measure_bands.py ({error!r})') from None


def open_raster(path: str):
    """``rasterio.open``; a failure names the file, and a missing place on the map is no warning.

    Raises:
        TileReadError: No raster.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', NotGeoreferencedWarning)
            return rasterio.open(path)
    except RasterioError as error:
        raise TileReadError(f'{path}: not a raster that GDAL can read ({error})') from error


def image_bands(source) -> list[int]:
    """Numbers of all bands but alpha, from 1 on."""
    return [band for band, kind in zip(source.indexes, source.colorinterp) if kind != ColorInterp.alpha]


def measure_bands(paths: Sequence[str], bands: Sequence[int] | None = None, windows: int = 200, size: int = 128,
                  percentiles: tuple[float, float] = (1, 99), seed: int = 0) -> dict:
    """Measure a scaling on random windows, the same number of each raster.

    Args:
        paths: Rasters.
        bands: Bands to measure, from 1 on; None: all but alpha.
        windows: Windows altogether, at least one of each raster.
        size: Their side, px.
        percentiles: What becomes 0 and 255, in per cent of the valid pixels.
        seed: Of the positions.

    Returns:
        dict: ``bands``: for each ``band``, ``low``, ``high``, and ``mean`` and ``std`` after scaling (0..255), for a
        data preprocessor; ``pixels``: valid pixels measured; ``rasters``: their number.

    Raises:
        TileReadError: A raster cannot be read, or has other bands than the first.
        ValueError: No valid pixels, or a band with one value only.
    """
    rng, found, number = np.random.default_rng(seed), [], None
    for path in paths:
        with open_raster(path) as source:
            chosen = list(bands) if bands else image_bands(source)
            if max(chosen) > source.count or (number is not None and len(chosen) != number):
                raise TileReadError(f'{path}: has {source.count} bands; all rasters need the same ones')
            number = len(chosen)
            for _ in range(max(1, windows // len(paths))):
                height, width = min(size, source.height), min(size, source.width)
                window = Window(rng.integers(source.width - width + 1), rng.integers(source.height - height + 1), width,
                                height)
                pixels = np.moveaxis(source.read(chosen, window=window), 0, -1)
                found.append(pixels[source.dataset_mask(window=window) > 0])
    samples = np.concatenate(found).astype(np.float64)
    samples = samples[np.isfinite(samples).all(axis=1)]
    if not len(samples):
        raise ValueError(f'no valid pixels in {len(found)} windows of {len(paths)} rasters')
    low, high = np.percentile(samples, percentiles, axis=0)
    scaled = BandScaling(tuple(low), tuple(high)).apply(samples)
    facts = [dict(band=band, low=float(low[i]), high=float(high[i]), mean=float(scaled[:, i].mean()),
                  std=float(scaled[:, i].std())) for i, band in enumerate(chosen)]
    return dict(bands=facts, pixels=len(samples), rasters=len(paths))
