"""Reading tiles and their headers with Pillow; every failure names the file.

A path is that of a file, or a :class:`~.tar_member.TarMember`.
"""
import io
import re
from os import PathLike

import mmcv
import mmengine.fileio as fileio
import numpy as np
from PIL import Image, UnidentifiedImageError

from .tar_member import TarMember

__all__ = ['TileReadError', 'geotiff_place', 'image_bands', 'image_size', 'read_image', 'read_raw', 'read_tagged']

# Everything Pillow raises for files that are broken, truncated or not images.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, UnidentifiedImageError)

# Modes whose conversion to 8-bit RGB is lossless or drops only alpha. Pillow silently clips the others
# (float samples, 16-bit grey), and of 16-bit colours it silently drops the lower byte.
_EIGHT_BIT_MODES = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'RGBX', 'CMYK', 'YCbCr')

# Tags of TIFF: https://gdal.org/en/stable/drivers/raster/gtiff.html, https://docs.ogc.org/is/19-008r4/19-008r4.html
_GDAL_NODATA, _PIXEL_SCALE, _TIE_POINT, _TRANSFORMATION, _GEO_KEYS = 42113, 33550, 33922, 34264, 34735


class TileReadError(ValueError):
    """A file that cannot be used as a tile; the message names the file and the reason."""


def image_size(path: str | PathLike | TarMember, is_mask: bool = False) -> tuple[int, int]:
    """(height, width) in px from the header alone, without decoding.

    Raises:
        TileReadError: The file is missing, is not an image, or (unless it is a mask) has samples that are not 8-bit.
    """
    try:
        file = path.open() if isinstance(path, TarMember) else open(path, 'rb')
    except FileNotFoundError:
        raise TileReadError(f'{path}: no such file') from None
    except OSError as error:
        raise TileReadError(f'{path}: cannot be read ({error})') from error
    try:
        with file, Image.open(file) as image:
            width, height = image.size
            samples = _samples(image)
    except Image.DecompressionBombError:
        raise TileReadError(f'{path}: too large to be read as one tile; cut it into tiles') from None
    except _BROKEN as error:
        raise TileReadError(f'{path}: not an image that Pillow can read ({error})') from error
    if not is_mask:  # masks may hold 16-bit indices; their values are checked one by one
        _check_samples(path, samples)
    return height, width


def image_bands(path: str | PathLike) -> int:
    """Number of bands without alpha, from the header alone; of a palette file that of its colours.

    Raises:
        TileReadError: The file is no image, or not 8-bit.
    """
    try:
        with Image.open(path) as image:
            samples = _samples(image)
    except _BROKEN as error:
        raise TileReadError(f'{path}: not an image that Pillow can read ({error})') from error
    _check_samples(path, samples)
    return {'1': 1, 'L': 1, 'LA': 1, 'RGBX': 4}.get(samples, 3)


def geotiff_place(path: str | PathLike) -> tuple | None:
    """Where a GeoTIFF lies, to be compared with that of another one; None for a file without a place.

    Raises:
        TileReadError: The file is no image.
    """
    if not str(path).lower().endswith(('.tif', '.tiff')):
        return None
    try:
        with Image.open(path) as image:
            tags = image.tag_v2
    except _BROKEN as error:
        raise TileReadError(f'{path}: not an image that Pillow can read ({error})') from error
    if _TIE_POINT not in tags and _TRANSFORMATION not in tags:
        return None
    # a hundredth of a unit in the place of doubles that were computed in two ways
    numbers = [round(value, 2 if tag == _TIE_POINT else 6) for tag in (_TIE_POINT, _PIXEL_SCALE, _TRANSFORMATION)
               for value in tags.get(tag, ())]
    keys = tags.get(_GEO_KEYS, ())  # in fours: key, where, count, value; 3072 and 2048 hold EPSG codes
    systems = {keys[i]: keys[i + 3] for i in range(4, len(keys), 4) if keys[i] in (2048, 3072)}
    return tuple(numbers), systems.get(3072, systems.get(2048))


def read_image(path: str | PathLike | TarMember, backend_args: dict | None = None) -> np.ndarray:
    """Decode an 8-bit image: (H, W, 3) uint8 BGR, as MMCV's loaders give it.

    The EXIF orientation is not applied: masks carry none, and the two must match.

    Raises:
        TileReadError: The file is missing, truncated, not an image or not 8-bit.
    """
    content, samples, _ = _read_bytes(path, backend_args)
    _check_samples(path, samples)
    return _decode(path, content, 'color_ignore_orientation')


def read_raw(path: str | PathLike | TarMember, as_rgb: bool, backend_args: dict | None = None) -> np.ndarray:
    """Decode a mask file; arguments, result and errors as the first of :func:`read_tagged`."""
    return read_tagged(path, as_rgb, backend_args)[0]


def read_tagged(path: str | PathLike | TarMember, as_rgb: bool,
                backend_args: dict | None = None) -> tuple[np.ndarray, float | None]:
    """Decode a mask file.

    Args:
        path: The file.
        as_rgb: True: colours, also of a palette file, as (H, W, 3) uint8 RGB. False: the stored numbers, (H, W) or (H,
            W, bands); of a palette file its indices.
        backend_args: Arguments of MMEngine's file backend.

    Returns:
        The samples, and the no-data tag of a TIFF.

    Raises:
        TileReadError: The file is missing, truncated or not an image.
    """
    content, samples, nodata = _read_bytes(path, backend_args)
    if as_rgb:
        _check_samples(path, samples)
        return _decode(path, content, 'color_ignore_orientation', 'rgb'), nodata
    raw = _decode(path, content, 'unchanged')
    return (raw.astype(np.uint8) if raw.dtype == bool else raw), nodata


def _read_bytes(path: str | PathLike | TarMember, backend_args: dict | None) -> tuple[bytes, str, float | None]:
    """Content of the file, what kind of samples it holds, see :func:`_samples`, and its no-data tag."""
    try:
        content = path.read() if isinstance(path, TarMember) else fileio.get(path, backend_args=backend_args)
    except OSError as error:
        raise TileReadError(f'{path}: cannot be read ({error})') from error
    try:
        with Image.open(io.BytesIO(content)) as image:
            return content, _samples(image), _nodata(image)
    except Image.DecompressionBombError:
        raise TileReadError(f'{path}: too large to be read as one tile; cut it into tiles') from None
    except _BROKEN as error:
        raise TileReadError(f'{path}: not an image that Pillow can read ({error})') from error


def _nodata(image: Image.Image) -> float | None:
    """GDAL's no-data tag of a TIFF; None without one or for NaN, which is no data anyway."""
    text = str(getattr(image, 'tag_v2', {}).get(_GDAL_NODATA, '')).strip(' \0')
    return float(text) if re.fullmatch(r'-?[\d.]+(e[-+]?\d+)?', text, re.IGNORECASE) else None


def _samples(image: Image.Image) -> str:
    """Pillow's mode of an opened image, or its raw mode, such as 'RGB;16B', if that tells of 16-bit colours."""
    raw = re.search(r'\w+;16[BLNS]', str(image.tile[0][3])) if image.tile else None
    return raw[0] if raw else image.mode


def _check_samples(path: str | PathLike | TarMember, samples: str) -> None:
    if samples not in _EIGHT_BIT_MODES:
        raise TileReadError(f"{path}: samples of Pillow's mode '{samples}' are not 8-bit; convert the files with "
                            'tools/dataset_converters/folder.py --scale LOW HIGH, or draw crops with '
                            'egmim_mm.RasterCrops(scaling=...)')


def _decode(path: str | PathLike, content: bytes, flag: str, channel_order: str = 'bgr') -> np.ndarray:
    try:
        return mmcv.imfrombytes(content, flag=flag, channel_order=channel_order, backend='pillow')
    except _BROKEN as error:
        raise TileReadError(f'{path}: truncated or damaged image ({error})') from error
