"""Class maps as polygons: a GeoPackage that any GIS opens."""
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyogrio
import rasterio
import rasterio.features
import shapely
from pyogrio.errors import DataSourceError
from shapely.geometry import shape

from egmim_mm.records import whole_file
from egmim_mm.storage.rasters import open_raster

from .blending import NODATA
from .raster_map import SETTINGS, quiet_gdal

__all__ = ['read_polygon_settings', 'write_polygons']

CHUNK = 10_000  # polygons written at once


def write_polygons(source: str | Path, target: str | Path, names: Sequence[str], settings: str = '') -> int:
    """Outline the regions of a class map: pixels of one class that share sides become a polygon, with its holes.

    The map is read in blocks. GDAL holds all polygons of the map in memory before the first is written: what is needed
    grows with their number and not with the size of the map.

    Args:
        source: Class map, as :func:`~egmim_mm.inference.predict_raster` writes it; 255 is no data.
        target: GeoPackage, which appears when it is complete. One layer, named after the file; fields ``class``
            (number) and ``name``. Coordinates are those of the map's coordinate system, also where its transform is
            rotated; without a transform column and row, in px from the upper left corner.
        names: Of the classes.
        settings: Text kept in the file, see :func:`read_polygon_settings`.

    Returns:
        Number of polygons.

    Raises:
        ValueError: The map has a class without a name.
        TileReadError, RasterioError: The map cannot be read.
        OSError: The target cannot be written; nothing of it is left.
    """
    target = Path(target)
    try:
        with whole_file(target) as draft, quiet_gdal(), open_raster(source) as file:
            warnings.filterwarnings('ignore', "'crs' was not provided")
            outlines = ((shape(outline), int(value)) for outline, value in rasterio.features.shapes(
                rasterio.band(file, 1), transform=file.transform) if value != NODATA)
            return _write(outlines, draft, target.stem, file.crs.to_wkt() if file.crs else None, names, settings)
    except DataSourceError as error:  # of pyogrio: no OSError
        raise OSError(f'{target} cannot be written ({error})') from error


def _write(polygons: Iterator[tuple[shapely.Polygon, int]], path: Path, layer: str, crs: str | None,
           names: Sequence[str], settings: str) -> int:
    count = 0
    while (chunk := list(islice(polygons, CHUNK))) or not count:  # also a map of nothing becomes a layer
        numbers = np.array([number for _, number in chunk], np.int32)
        if len(numbers) and numbers.max() >= len(names):
            raise ValueError(f'the map has class {numbers.max()}, but there are {len(names)} names')
        options = dict(append=True) if count else dict(dataset_metadata={SETTINGS: settings})
        pyogrio.raw.write(
            path, shapely.to_wkb(np.array([outline for outline, _ in chunk], object)),
            [numbers, np.array([names[number] for number in numbers], object)], ['class', 'name'], layer=layer,
            driver='GPKG', geometry_type='Polygon', crs=crs, **options)
        if not chunk:
            break
        count += len(chunk)
    return count


def read_polygon_settings(path: str | Path) -> str | None:
    """How polygons were made, as :func:`write_polygons` was told; None if there is no such file, or none of ours."""
    try:
        return (pyogrio.read_info(path)['dataset_metadata'] or {}).get(SETTINGS)
    except DataSourceError:
        return None
