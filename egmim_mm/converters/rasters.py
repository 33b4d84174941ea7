"""Decoding sources and encoding tiles: any raster in, 8-bit tiles out."""
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader, MemoryFile
from rasterio.windows import Window as RasterWindow
from rasterio.windows import transform as window_transform

from egmim_mm.storage.png_check import check_png
from egmim_mm.storage.rasters import (
    READ_OPTIONS,
    WRITE_OPTIONS,
    chosen_bands,
    color_table,
    is_placed,
    open_raster,
    read_samples,
)
from egmim_mm.storage.tile_reading import TileReadError

from .archives import ConversionError, Member
from .tiling import Window

__all__ = ['Raster', 'as_image', 'as_label_values', 'decode', 'encode', 'opened']


@dataclass
class Raster:
    """A decoded raster.

    Args:
        pixels: (H, W, bands), any type; the bands that were asked for.
        valid: (H, W) bool: where there is data.
        nodata: The file's no-data tag, if its bands agree.
        palette: (256, 3) uint8 RGB of a palette file.
        transform, crs: As in rasterio; None where the file has none.
    """

    pixels: np.ndarray
    valid: np.ndarray
    nodata: float | None = None
    palette: np.ndarray | None = None
    transform: Any = None
    crs: Any = None


@contextmanager
def opened(member: Member) -> Iterator[DatasetReader]:
    """A file by its path, with what lies beside it; one of a zip file in memory.

    Raises:
        ConversionError: It is no raster, truncated or damaged, also when that shows while it is read.
    """
    name = str(member)
    try:
        if os.path.isdir(member.archive):
            with open_raster(Path(member.archive, member.name)) as source:
                yield source
            return
        content = member.read()
        if content.startswith(b'\x89PNG'):
            check_png(name, content)
        with warnings.catch_warnings(), rasterio.Env(**READ_OPTIONS), MemoryFile(content) as file:
            warnings.simplefilter('ignore', NotGeoreferencedWarning)
            with file.open() as source:
                name = source.name
                yield source
    except RasterioError as error:
        raise ConversionError(f'{member}: not a raster, truncated or damaged ({error})') from error
    except TileReadError as error:
        raise ConversionError(str(error).replace(name, str(member))) from error


def decode(member: Member, bands: Sequence[int] | None = None, nodata: float | str | None = None) -> Raster:
    """Decode a file.

    Args:
        member: The file.
        bands: Bands of the file, from 1 on, in this order; None: all but alpha.
        nodata: See :func:`egmim_mm.storage.rasters.valid_pixels`.

    Raises:
        ConversionError: It is no raster, truncated or damaged, or lacks a band.
    """
    if not member.size:
        raise ConversionError(f'{member}: the file is empty')
    with opened(member) as source:
        chosen = chosen_bands(source, bands)
        pixels, valid = read_samples(source, chosen, nodata=nodata)
        tags = {source.nodatavals[band - 1] for band in chosen}
        return Raster(pixels, valid, tags.pop() if len(tags) == 1 else None, color_table(source),
                      source.transform if is_placed(source) else None, source.crs)


def as_image(raster: Raster, name: str, scale: tuple[float, float] | None = None) -> np.ndarray:
    """Pixels of a tile: (H, W, 1 or 3) uint8.

    Args:
        raster: What was decoded.
        name: The file, for messages.
        scale: Values that become 0 and 255. None: only for 8-bit rasters.

    Raises:
        ConversionError: Neither one nor three bands, or samples that are not 8-bit.
    """
    pixels = raster.pixels if raster.palette is None else raster.palette[raster.pixels[..., 0]]
    if pixels.shape[-1] not in (1, 3):
        raise ConversionError(f'{name}: has {pixels.shape[-1]} bands, a tile 1 or 3; choose them, for example '
                              '--bands 1 2 3')
    if scale is not None:
        low, high = scale
        scaled = np.nan_to_num((pixels.astype(np.float32) - low) * (255 / (high - low)))
        return np.clip(scaled, 0, 255).round().astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise ConversionError(f'{name}: has {pixels.dtype} samples, a tile 8-bit ones; give the values that become 0 '
                              f'and 255, the same for all images{_scale_hint(pixels[raster.valid])}')
    return pixels


def _scale_hint(samples: np.ndarray) -> str:
    """The range of valid samples (N, bands) as options; nothing where they have none."""
    samples = samples[np.isfinite(samples).all(axis=-1)]
    if not samples.size:
        return ' (this one holds no data)'
    low, high = np.percentile(samples[::max(1, len(samples) // 100_000)], (1, 99))
    if not low < high:
        return f' (this one holds {low:g} only)'
    written = '{:.0f}' if np.issubdtype(samples.dtype, np.integer) else '{:.4g}'
    return f' (here 98 % lie in --scale {written.format(low)} {written.format(high)})'


def as_label_values(raster: Raster, color: bool, name: str) -> np.ndarray:
    """File values of a mask: (H, W) numbers, or with ``color`` (H, W, 3) uint8 RGB, also of a palette file.

    Raises:
        ConversionError: Colours are expected in a file that has none, or the other way round.
    """
    if not color:
        if raster.pixels.shape[-1] != 1:
            raise ConversionError(f'{name}: a mask with {raster.pixels.shape[-1]} bands where class numbers are '
                                  'expected; give the classes as NAME=#RRGGBB')
        return raster.pixels[..., 0]
    pixels = raster.pixels if raster.palette is None else raster.palette[raster.pixels[..., 0]]
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    if pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
        raise ConversionError(f'{name}: {pixels.shape[-1]} bands of {pixels.dtype} are no colours')
    return pixels


def encode(pixels: np.ndarray, suffix: str, source: Raster, window: Window, nodata: float | None = None,
           valid: np.ndarray | None = None) -> bytes:
    """A tile as a file.

    Args:
        pixels: (H, W) or (H, W, 1 or 3) uint8.
        suffix: '.png', or '.tif', which keeps the place on the map.
        source: The raster it was cut from.
        window: Where it was cut out.
        nodata: Tag of a '.tif'.
        valid: (H, W) bool, kept in a '.tif' as its mask; None: no mask.
    """
    if suffix == '.png':
        file = io.BytesIO()
        # 3: half the time of Pillow's own level for files that are a few per cent larger.
        Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1, ) else pixels).save(file, 'PNG', compress_level=3)
        return file.getvalue()
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    place = dict(crs=source.crs) if source.crs is not None else {}
    if source.transform is not None:
        part = RasterWindow(window.left, window.top, window.width, window.height)
        place['transform'] = window_transform(part, source.transform)
    with warnings.catch_warnings(), rasterio.Env(**WRITE_OPTIONS, GDAL_TIFF_INTERNAL_MASK='YES'), MemoryFile() as file:
        warnings.simplefilter('ignore', NotGeoreferencedWarning)
        with file.open(driver='GTiff', height=pixels.shape[0], width=pixels.shape[1], count=pixels.shape[2],
                       dtype='uint8', compress='deflate', nodata=nodata, **place) as target:
            target.write(np.moveaxis(pixels, -1, 0))
            if valid is not None:
                target.write_mask(valid)
        return bytes(file.getbuffer())
