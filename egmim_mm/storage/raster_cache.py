"""Decoded rasters on disk, memory-mapped: a random window costs no decoding."""
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import rasterio
from rasterio.io import DatasetReader
from rasterio.windows import Window

from egmim_mm.records import whole_file

from .band_scaling import BandScaling
from .rasters import READ_OPTIONS, chosen_bands, color_table, open_raster, read_samples
from .tile_reading import TileReadError

__all__ = ['decoded_raster', 'read_window', 'window_bands']

STRIP = 512  # rows decoded at a time: bounds the memory, and is a multiple of most block heights


def decoded_raster(path: str, cache_dir: str, bands: Sequence[int] | None = None, scaling: BandScaling | None = None,
                   nodata: float | str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and validity of a whole raster, memory-mapped; decoded by the first call, from any process.

    Args:
        path: The raster.
        cache_dir: Folder of the decoded files, as large as the rasters are uncompressed. A file of another size or
            time, other bands, another scaling or no-data value is decoded anew.
        bands, scaling, nodata: See :func:`read_window`.

    Returns:
        (H, W, B) uint8 and (H, W) bool, both read-only.

    Raises:
        TileReadError: The raster cannot be read, or the cache not written.
    """
    stat = os.stat(path)
    key = repr((os.path.abspath(path), stat.st_size, stat.st_mtime_ns, bands, scaling, nodata))
    stem = f'{Path(path).stem}_{hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}'
    pixels, valid = (Path(cache_dir, f'{stem}_{kind}.npy') for kind in ('pixels', 'valid'))
    if not (pixels.exists() and valid.exists()):
        try:
            with whole_file(pixels) as pixels_draft, whole_file(valid) as valid_draft:
                _decode(path, pixels_draft, valid_draft, bands, scaling, nodata)
        except OSError as error:
            raise TileReadError(f'{path}: cannot be decoded to {cache_dir} ({error}); make room, or set cache_dir=None '
                                'to read from the file itself') from error
    return np.load(pixels, mmap_mode='r'), np.load(valid, mmap_mode='r')


def _decode(path: str, pixels_file: Path, valid_file: Path, bands: Sequence[int] | None, scaling: BandScaling | None,
            nodata: float | str | None) -> None:
    # strips through plain files: the pages of a writable map would pile up in memory
    with rasterio.Env(**READ_OPTIONS), open_raster(path) as source, open(pixels_file, 'wb') as pixels, \
            open(valid_file, 'wb') as valid:
        number = window_bands(source, bands, scaling)
        _write_header(pixels, np.uint8, (source.height, source.width, number))
        _write_header(valid, np.bool_, (source.height, source.width))
        for top in range(0, source.height, STRIP):
            strips = read_window(source, top, 0, min(STRIP, source.height - top), source.width, bands, scaling, nodata)
            for file, strip in zip((pixels, valid), strips):
                file.write(np.ascontiguousarray(strip))


def _write_header(file: BinaryIO, dtype: type, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, dict(descr=np.dtype(dtype).str, fortran_order=False, shape=shape))


def window_bands(source: DatasetReader, bands: Sequence[int] | None = None, scaling: BandScaling | None = None) -> int:
    """Number of bands that :func:`read_window` gives; raises as it does for bands and scalings."""
    chosen = chosen_bands(source, bands or (scaling.bands if scaling else None))
    dtype = source.dtypes[chosen[0] - 1]
    if scaling is not None:
        scaling.check(source.name, chosen, dtype)
    elif dtype != 'uint8':
        raise TileReadError(f'{source.name}: {dtype} samples need a scaling to 8 bits; measure it with '
                            'tools/measure_bands.py')
    return len(chosen) if color_table(source) is None else 3


def read_window(source: DatasetReader, top: int, left: int, height: int, width: int, bands: Sequence[int] | None = None,
                scaling: BandScaling | None = None,
                nodata: float | str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read a window of an open raster as 8 bits; a palette becomes RGB.

    Args:
        source: What :func:`open_raster` gave.
        top, left, height, width: Window inside the raster, px.
        bands: Bands of the file, from 1 on; None: those of the scaling, or all but alpha.
        scaling: To 8 bits; None: the samples are 8-bit.
        nodata: See :func:`valid_pixels`.

    Returns:
        (height, width, B) uint8, and (height, width) bool: where there is data.

    Raises:
        TileReadError: A damaged file, missing bands, samples that are not 8-bit and no scaling, or a scaling of other
            bands or another type.
    """
    window_bands(source, bands, scaling)
    chosen = chosen_bands(source, bands or (scaling.bands if scaling else None))
    samples, valid = read_samples(source, chosen, Window(left, top, width, height), nodata)
    if scaling is not None:
        samples = scaling.apply(samples)
    palette = color_table(source)
    return samples if palette is None else palette[samples[..., 0]], valid
