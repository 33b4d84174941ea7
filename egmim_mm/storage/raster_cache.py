"""Decoded rasters on disk, memory-mapped: a random window costs no decoding."""
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from .band_scaling import BandScaling, image_bands, open_raster
from .tile_reading import TileReadError

__all__ = ['decoded_raster', 'read_window']

STRIP = 512  # rows decoded at a time: bounds the memory, and is a multiple of most block heights
GDAL_CACHE_MB = 64  # decoding reads every block once; GDAL itself would keep a twentieth of the RAM


def decoded_raster(path: str, cache_dir: str, bands: Sequence[int] | None = None,
                   scaling: BandScaling | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and validity of a whole raster, memory-mapped; decoded by the first call, from any process.

    Args:
        path: The raster.
        cache_dir: Folder of the decoded files, as large as the rasters are uncompressed. A file of another size or
            time, other bands or another scaling is decoded anew.
        bands, scaling: See :func:`read_window`.

    Returns:
        tuple: (H, W, bands) uint8 and (H, W) bool, both read-only.

    Raises:
        TileReadError: The raster cannot be read, or the cache not written.
    """
    stat = os.stat(path)
    key = repr((os.path.abspath(path), stat.st_size, stat.st_mtime_ns, bands, scaling))
    stem = f'{Path(path).stem}_{hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}'
    pixels, valid = (Path(cache_dir, f'{stem}_{kind}.npy') for kind in ('pixels', 'valid'))
    if not (pixels.exists() and valid.exists()):
        drafts = [file.with_name(f'.{file.name}.{os.getpid()}') for file in (pixels, valid)]
        try:
            os.makedirs(cache_dir, exist_ok=True)
            _decode(path, *drafts, bands, scaling)
            for draft, file in zip(drafts, (pixels, valid)):
                os.replace(draft, file)
        except OSError as error:
            raise TileReadError(f'{path}: cannot be decoded to {cache_dir} ({error}); make room, or set cache_dir=None '
                                'to read from the file itself') from error
        finally:
            for draft in drafts:
                draft.unlink(missing_ok=True)
    return np.load(pixels, mmap_mode='r'), np.load(valid, mmap_mode='r')


def _decode(path: str, pixels_file: Path, valid_file: Path, bands, scaling) -> None:
    # strips through plain files: the pages of a writable map would pile up in memory
    with rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_MB), open_raster(path) as source, \
            open(pixels_file, 'wb') as pixels, open(valid_file, 'wb') as valid:
        shape = (source.height, source.width)
        _write_header(pixels, np.uint8, (*shape, len(bands) if bands else len(image_bands(source))))
        _write_header(valid, np.bool_, shape)
        for top in range(0, source.height, STRIP):
            rows = min(STRIP, source.height - top)
            for file, strip in zip((pixels, valid), read_window(source, top, 0, rows, source.width, bands, scaling)):
                file.write(np.ascontiguousarray(strip))


def _write_header(file: BinaryIO, dtype: type, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, dict(descr=np.dtype(dtype).str, fortran_order=False, shape=shape))


def read_window(source, top: int, left: int, height: int, width: int, bands: Sequence[int] | None = None,
                scaling: BandScaling | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read a window of an open raster.

    Args:
        source: What ``rasterio.open`` gave.
        top, left, height, width: Window inside the raster, px.
        bands: Bands, from 1 on; None: all but alpha.
        scaling: To 8 bits; None: the samples are 8-bit.

    Returns:
        tuple: (height, width, bands) uint8; (height, width) bool, False where the file's no-data value, mask or alpha
        says that there is nothing.

    Raises:
        TileReadError: A damaged file, missing bands, or samples that are not 8-bit and no scaling.
    """
    chosen = list(bands) if bands else image_bands(source)
    if max(chosen) > source.count:
        raise TileReadError(f'{source.name}: has {source.count} bands, band {max(chosen)} is asked for')
    window = Window(left, top, width, height)
    try:
        pixels = np.moveaxis(source.read(chosen, window=window), 0, -1)
        valid = source.dataset_mask(window=window) > 0
    except RasterioError as error:
        raise TileReadError(f'{source.name}: truncated or damaged ({error})') from error
    if scaling is not None:
        if len(scaling.low) != len(chosen):
            raise TileReadError(f'{source.name}: a scaling of {len(scaling.low)} bands for {len(chosen)} bands')
        pixels = scaling.apply(pixels)
    if pixels.dtype != np.uint8:
        raise TileReadError(f'{source.name}: {pixels.dtype} samples need a scaling to 8 bits; measure it with '
                            'tools/measure_bands.py')
    return pixels, valid
