"""Decoding sources and encoding tiles with rasterio: any raster in, 8-bit tiles out."""
import io
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window as RasterWindow
from rasterio.windows import transform as window_transform

from .archives import ConversionError, Member
from .tiling import Window

__all__ = ['Raster', 'as_image', 'as_label_values', 'decode', 'encode', 'is_georeferenced']

# A truncated JPEG must be an error and not grey pixels; no .aux.xml files beside other people's data.
_OPTIONS = dict(GDAL_ERROR_ON_LIBJPEG_WARNING='YES', GDAL_PAM_ENABLED='NO')


@dataclass
class Raster:
    """A decoded raster.

    Args:
        pixels (np.ndarray): (H, W, bands), any type; alpha is left out.
        palette (np.ndarray | None): (256, 3) uint8 RGB of a palette file.
        transform, crs: As in rasterio; None where the file has none.
    """

    pixels: np.ndarray
    palette: np.ndarray | None = None
    transform: Any = None
    crs: Any = None


def decode(member: Member, content: bytes | None = None) -> Raster:
    """Decode a file; ``content``: its bytes, if they have been read.

    Raises:
        ConversionError: It is no raster, truncated or damaged.
    """
    content = member.read() if content is None else content
    if not content:
        raise ConversionError(f'{member}: the file is empty')
    _check_png(member, content)
    try:
        with warnings.catch_warnings(), rasterio.Env(**_OPTIONS), MemoryFile(content) as file:
            warnings.simplefilter('ignore', NotGeoreferencedWarning)
            with file.open() as source:
                kept = [band for band, kind in zip(source.indexes, source.colorinterp) if kind != ColorInterp.alpha]
                pixels = np.moveaxis(source.read(kept or list(source.indexes)), 0, -1)
                palette = _palette(source)
                transform = None if source.transform.is_identity else source.transform
                return Raster(pixels, palette, transform, source.crs)
    except RasterioError as error:
        raise ConversionError(f'{member}: not a raster, truncated or damaged ({error})') from error


def _check_png(member: Member, content: bytes) -> None:
    """GDAL gives the pixels that a truncated PNG has no data for as zeros, without a word."""
    if content.startswith(b'\x89PNG'):
        try:
            PngImageFile(io.BytesIO(content)).verify()
        except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
            raise ConversionError(f'{member}: truncated or damaged ({error})') from error


def is_georeferenced(path: str) -> bool:
    """Whether a raster file has a transform, from its header.

    Raises:
        ConversionError: It is no raster.
    """
    try:
        with warnings.catch_warnings(), rasterio.Env(**_OPTIONS):
            warnings.simplefilter('ignore', NotGeoreferencedWarning)
            with rasterio.open(path) as source:
                return not source.transform.is_identity
    except RasterioError as error:
        raise ConversionError(f'{path}: not a raster ({error})') from error


def _palette(source) -> np.ndarray | None:
    if source.count != 1 or source.colorinterp[0] != ColorInterp.palette:
        return None
    table = np.zeros((256, 3), np.uint8)
    for index, color in source.colormap(1).items():
        table[index] = color[:3]
    return table


def as_image(raster: Raster, name: str, bands: Sequence[int] | None = None,
             scale: tuple[float, float] | None = None) -> np.ndarray:
    """Pixels of a tile: (H, W, 1 or 3) uint8.

    Args:
        raster: What was decoded.
        name: The file, for messages.
        bands: Bands to keep, from 1 on, in this order. None: all.
        scale: Values that become 0 and 255. None: only for 8-bit rasters.

    Raises:
        ConversionError: Bands that are not there, neither one nor three bands, or samples that are not 8-bit.
    """
    pixels = raster.pixels if raster.palette is None else raster.palette[raster.pixels[..., 0]]
    count = pixels.shape[-1]
    if bands is not None:
        if not all(1 <= band <= count for band in bands):
            raise ConversionError(f'{name}: has the bands 1 to {count}, --bands asks for '
                                  f'{" ".join(map(str, bands))}')
        pixels = pixels[..., [band - 1 for band in bands]]
    if pixels.shape[-1] not in (1, 3):
        raise ConversionError(f'{name}: has {pixels.shape[-1]} bands, a tile 1 or 3; choose them, for example '
                              '--bands 1 2 3')
    if scale is not None:
        low, high = scale
        pixels = np.clip((pixels.astype(np.float32) - low) * (255 / (high - low)), 0, 255).round().astype(np.uint8)
    if pixels.dtype != np.uint8:
        finite = pixels[np.isfinite(pixels)] if np.issubdtype(pixels.dtype, np.floating) else pixels
        low, high = np.percentile(finite[::max(1, finite.size // 100_000)], (1, 99)) if finite.size else (0, 1)
        raise ConversionError(f'{name}: has {pixels.dtype} samples, a tile 8-bit ones; give the values that become 0 '
                              f'and 255, the same for all images (here 98 % lie in --scale {low:.4g} {high:.4g})')
    return pixels


def as_label_values(raster: Raster, color: bool, name: str) -> np.ndarray:
    """File values of a mask: (H, W) integers, or with ``color`` (H, W, 3) uint8 RGB, also of a palette file.

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


def encode(pixels: np.ndarray, suffix: str, source: Raster, window: Window) -> bytes:
    """A tile as a file.

    Args:
        pixels: (H, W) or (H, W, 1 or 3) uint8.
        suffix: '.png', or '.tif', which keeps the place on the map.
        source: The raster it was cut from.
        window: Where it was cut out.
    """
    if suffix == '.png':
        file = io.BytesIO()
        # 3: half the time of Pillow's own level for files that are a few per cent larger.
        Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1, ) else pixels).save(file, 'PNG', compress_level=3)
        return file.getvalue()
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    place = {}
    if source.transform is not None:
        part = RasterWindow(window.left, window.top, window.width, window.height)
        place = dict(transform=window_transform(part, source.transform))
    if source.crs is not None:
        place['crs'] = source.crs
    with warnings.catch_warnings(), rasterio.Env(**_OPTIONS), MemoryFile() as file:
        warnings.simplefilter('ignore', NotGeoreferencedWarning)
        with file.open(driver='GTiff', height=pixels.shape[0], width=pixels.shape[1], count=pixels.shape[2],
                       dtype='uint8', compress='deflate', **place) as target:
            target.write(np.moveaxis(pixels, -1, 0))
        return bytes(file.getbuffer())
