"""From the samples of a raster's bands to 8 bits, measured once for all rasters of a type."""
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rasterio.io import DatasetReader
from rasterio.windows import Window

from .rasters import chosen_bands, open_raster, read_samples
from .tile_reading import TileReadError

__all__ = ['BandScaling', 'load_scaling', 'measure_bands']


@dataclass(frozen=True)
class BandScaling:
    """Values that become 0 and 255.

    Args:
        low: For each band.
        high: For each band, above ``low``.
        bands: Numbers of the bands in the file, from 1 on, that it was measured on; None: any.
        dtype: Type of the samples that it was measured on, such as 'uint16'; None: any.

    Raises:
        ValueError: Different lengths, or a ``high`` that is not above its ``low``.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    bands: tuple[int, ...] | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or not all(low < high for low, high in zip(self.low, self.high)):
            raise ValueError(f'band scaling low={self.low}, high={self.high}: each band needs a high above its low')

    def check(self, path: str, bands: Sequence[int], dtype: str) -> None:
        """Whether the scaling is for these bands of a file.

        Raises:
            TileReadError: It was measured on other bands or another type of samples; the message names ``path``.
        """
        if len(self.low) != len(bands):
            raise TileReadError(f'{path}: a scaling of {len(self.low)} bands for {len(bands)} bands')
        if self.bands is not None and tuple(bands) != self.bands:
            raise TileReadError(f'{path}: the scaling was measured on the bands {_listed(self.bands)}, not on '
                                f'{_listed(bands)}; measure these with tools/measure_bands.py --bands {_listed(bands)}')
        if self.dtype is not None and dtype != self.dtype:
            raise TileReadError(f'{path}: has {dtype} samples, the scaling was measured on {self.dtype}; keep such '
                                'files in a folder of their own, with a scaling of their own')

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
            measured = json.load(file)
        low, high, numbers = zip(*((band['low'], band['high'], band['band']) for band in measured['bands']))
        return BandScaling(low, high, numbers, measured.get('dtype'))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path} is not a file of tools/measure_bands.py ({error!r})') from None


def measure_bands(paths: Sequence[str], bands: Sequence[int] | None = None, windows: int = 200, size: int = 128,
                  percentiles: tuple[float, float] = (1, 99), seed: int = 0,
                  nodata: float | str | None = None) -> dict[str, Any]:
    """Measure a scaling on random windows, the same number of each raster.

    Args:
        paths: Rasters.
        bands: Bands to measure, from 1 on; None: all but alpha.
        windows: Windows altogether, at least one of each raster.
        size: Their side, px.
        percentiles: What becomes 0 and 255, in per cent of the valid pixels.
        seed: Of the positions.
        nodata: See :func:`.rasters.valid_pixels`.

    Returns:
        ``bands``: for each ``band``, ``low``, ``high``, and ``mean`` and ``std`` after scaling (0..255), for a data
        preprocessor; ``dtype``: type of the samples; ``pixels``: valid pixels measured; ``rasters``: their number;
        ``empty``: rasters without a valid pixel in their windows.

    Raises:
        TileReadError: A raster cannot be read, or has other bands or another type than the first.
        ValueError: No valid pixels, or a band with one value only.
    """
    rng, drawn, first, empty = np.random.default_rng(seed), [], None, []
    for path in paths:
        with open_raster(path) as source:
            chosen = chosen_bands(source, bands)
            dtype = source.dtypes[chosen[0] - 1]
            first = first or (path, chosen, dtype)
            if (chosen, dtype) != first[1:]:
                raise TileReadError(f'{path}: has the bands {_listed(chosen)} of {dtype}, {first[0]} '
                                    f'{_listed(first[1])} of {first[2]}; measure them apart, or choose --bands')
            pixels = _random_windows(source, chosen, max(1, windows // len(paths)), size, rng, nodata)
            if not len(pixels):
                empty.append(str(path))
            drawn.append(pixels)
    samples = np.concatenate(drawn).astype(np.float64)
    samples = samples[np.isfinite(samples).all(axis=1)]
    if not len(samples):
        raise ValueError(f'no valid pixels in the windows of {len(paths)} rasters, {paths[0]} the first: all are no '
                         'data by value or mask; if they are not, say so with --nodata')
    low, high = np.percentile(samples, percentiles, axis=0)
    scaled = BandScaling(tuple(low), tuple(high)).apply(samples)
    measured = [dict(band=band, low=float(low[i]), high=float(high[i]), mean=float(scaled[:, i].mean()),
                     std=float(scaled[:, i].std())) for i, band in enumerate(chosen)]
    return dict(bands=measured, dtype=dtype, pixels=len(samples), rasters=len(paths), empty=empty)


def _random_windows(source: DatasetReader, bands: Sequence[int], count: int, size: int, rng: np.random.Generator,
                    nodata: float | str | None) -> np.ndarray:
    """(pixels, bands): the valid samples in random windows of an open raster."""
    valid_samples = []
    for _ in range(count):
        height, width = min(size, source.height), min(size, source.width)
        window = Window(rng.integers(source.width - width + 1), rng.integers(source.height - height + 1), width, height)
        samples, valid = read_samples(source, bands, window, nodata)
        valid_samples.append(samples[valid])
    return np.concatenate(valid_samples)


def _listed(bands: Sequence[int]) -> str:
    return ' '.join(map(str, bands))
