"""Opening rasters and reading their windows: the one place that decides which pixels hold data."""
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import rasterio
from rasterio.drivers import raster_driver_extensions
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from .image_files import SUFFIXES, find_images
from .png_check import check_png
from .tile_reading import TileReadError

__all__ = [
    'RAW_SUFFIXES', 'READ_OPTIONS', 'WRITE_OPTIONS', 'chosen_bands', 'color_table', 'find_rasters', 'is_placed',
    'open_raster', 'parse_nodata', 'raster_suffixes', 'read_samples', 'valid_pixels'
]

# A truncated JPEG is an error and not grey pixels, and the block cache does not grow with the raster (bytes; GDAL's own
# limit is a share of the machine's memory). What lies beside a raster (.aux.xml, .tfw, .hdr) is read; writing leaves
# no .aux.xml behind.
READ_OPTIONS = dict(GDAL_ERROR_ON_LIBJPEG_WARNING='YES', GDAL_CACHEMAX=64 * 2**20, GDAL_PAM_ENABLED='YES')
WRITE_OPTIONS = dict(READ_OPTIONS, GDAL_PAM_ENABLED='NO')

# Endings that GDAL reads pixels from but that are documents, tables, databases or headers in practice.
_NO_RASTERS = {'dat', 'err', 'gen', 'gpkg', 'gpkg.zip', 'hdr', 'kml', 'kmz', 'lbl', 'map', 'mbtiles', 'pdf', 'rda',
               'sqlite', 'xml', 'xyz'}
RAW_SUFFIXES = ('.bil', '.bin', '.bip', '.bsq', '.dat', '.raw')  # rasters if a header .hdr lies beside them
_COMPANIONS = re.compile(
    r'\.(aux\.xml|hdr|ovr|msk|prj|rrd|rde|ige|wld|(tf|tif|tiff|jg|jpg|jpeg|pg|png|bp|gf|j2|jp2)w)$',
    re.IGNORECASE)


def open_raster(path: str | Path) -> DatasetReader:
    """A raster in any format of GDAL, with the files that lie beside it.

    Raises:
        TileReadError: No raster, truncated, or without its header file; the message names the file.
    """
    path = str(path)
    try:
        with warnings.catch_warnings(), rasterio.Env(**READ_OPTIONS):
            warnings.simplefilter('ignore', NotGeoreferencedWarning)  # a missing place on the map is no fault
            source = rasterio.open(path)
    except RasterioError as error:
        lacking = ''
        if path.lower().endswith(RAW_SUFFIXES) and not _header_beside(Path(path)):
            lacking = f'; raw pixels need their header {Path(path).stem}.hdr beside them'
        raise TileReadError(f'{path}: not a raster that GDAL can read ({error}){lacking}') from error
    try:
        if source.driver == 'PNG':
            check_png(path)
        _check_parts(source, path)
    except TileReadError:
        source.close()
        raise
    return source


def _check_parts(source: DatasetReader, path: str) -> None:
    """A virtual raster opens although the files it is made of are missing: name them."""
    if source.driver != 'VRT' or not Path(path).is_file():
        return
    for element in ElementTree.parse(path).iter('SourceFilename'):
        name = element.text or ''
        part = Path(path).parent / name if element.get('relativeToVRT') == '1' else Path(name)
        if not name.startswith('/vsi') and ':' not in name and not part.exists():  # archives, parts of a file
            raise TileReadError(f'{path}: is made of {part}, which does not exist; put it there')


def _header_beside(path: Path) -> bool:
    return any(header.exists() for header in (path.with_suffix('.hdr'), path.with_name(path.name + '.hdr')))


def is_placed(source: DatasetReader) -> bool:
    """Whether the raster has a transform to the ground."""
    return not source.transform.is_identity


def raster_suffixes() -> tuple[str, ...]:
    """Endings of the formats that this build of GDAL opens, those of images first."""
    others = sorted(f'.{ending}' for ending in raster_driver_extensions() if ending not in _NO_RASTERS)
    return (*SUFFIXES, *(ending for ending in others if ending not in SUFFIXES))


def find_rasters(folder: str | Path) -> tuple[list[str], list[str]]:
    """Files below a folder, relative to it: those GDAL can open by their ending, and what else lies there.

    Raw files (.dat, .bil, ...) count when their header lies beside them. The files that belong to a raster
    (.aux.xml, .hdr, .tfw, ...) are in neither list.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    endings = raster_suffixes()
    rasters, others = [], []
    for name in find_images(str(folder), ('', )):
        raw = name.lower().endswith(RAW_SUFFIXES)
        if _header_beside(Path(folder, name)) if raw else name.lower().endswith(endings):
            rasters.append(name)
        elif not _COMPANIONS.search(name):
            others.append(name)
    return rasters, others


def chosen_bands(source: DatasetReader, bands: Sequence[int] | None = None) -> list[int]:
    """Numbers of bands in the file, from 1 on; None: all that are not tagged as alpha.

    Raises:
        TileReadError: A band that the file does not have.
    """
    if not bands:
        colors = [band for band, kind in zip(source.indexes, source.colorinterp) if kind != ColorInterp.alpha]
        return colors or list(source.indexes)
    for band in bands:
        if not 1 <= band <= source.count:
            raise TileReadError(f'{source.name}: has {source.count} bands, band {band} is asked for')
    return list(bands)


def color_table(source: DatasetReader) -> np.ndarray | None:
    """(256, 3) uint8 RGB of a palette file; None for any other."""
    if source.count != 1 or source.colorinterp[0] != ColorInterp.palette:
        return None
    table = np.zeros((256, 3), np.uint8)
    for index, color in source.colormap(1).items():
        table[index] = color[:3]
    return table


def parse_nodata(text: str | None) -> float | str | None:
    """What a user writes for no-data: a number, or 'none'; None stays None, what the file says.

    Raises:
        ValueError: Neither.
    """
    if text is not None and text.lower() == 'none':
        return 'none'
    try:
        return None if text is None else float(text)
    except ValueError:
        raise ValueError(f"--nodata {text}: give a number, or 'none' if every pixel holds data") from None


def valid_pixels(source: DatasetReader, samples: np.ndarray, bands: Sequence[int], window: Window | None = None,
                 nodata: float | str | None = None) -> np.ndarray:
    """Which pixels hold data: everywhere in the package this function decides.

    A NaN in one of the bands is no data, always. Beyond it counts, of these, the first that there is: ``nodata``; the
    file's alpha band, unless it is one of ``bands``, or its mask; the no-data values of ``bands``. A pixel has no data
    by value only when *all* of the bands have theirs: a 0 in near infrared alone is water.

    Args:
        source: The open raster.
        samples: (H, W, B), as they are in the file.
        bands: Their numbers in the file.
        window: Where they were read; None: everywhere.
        nodata: A value instead of what the file says, or 'none': all pixels hold data.

    Returns:
        (H, W) bool.
    """
    valid = np.ones(samples.shape[:2], bool)
    if np.issubdtype(samples.dtype, np.floating):
        valid = ~np.isnan(samples).any(axis=-1)
    if nodata == 'none':
        return valid
    if nodata is not None:
        return valid & (samples != nodata).any(axis=-1)
    flags = source.mask_flag_enums[bands[0] - 1]
    alpha = [band for band, kind in zip(source.indexes, source.colorinterp) if kind == ColorInterp.alpha]
    if MaskFlags.per_dataset in flags and not (MaskFlags.alpha in flags and set(alpha) & set(bands)):
        return valid & (source.read_masks(bands[0], window=window) > 0)
    tags = [source.nodatavals[band - 1] for band in bands]
    if any(tag is None for tag in tags):
        return valid
    return valid & np.any([samples[..., i] != tag for i, tag in enumerate(tags)], axis=0)


def read_samples(source: DatasetReader, bands: Sequence[int], window: Window | None = None,
                 nodata: float | str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Samples as they are in the file, (H, W, B), and :func:`valid_pixels`, (H, W) bool.

    Raises:
        TileReadError: A damaged file.
    """
    try:
        with rasterio.Env(**READ_OPTIONS):
            samples = np.moveaxis(source.read(list(bands), window=window), 0, -1)
            return samples, valid_pixels(source, samples, bands, window, nodata)
    except RasterioError as error:
        raise TileReadError(f'{source.name}: truncated or damaged ({error.__cause__ or error})') from error
