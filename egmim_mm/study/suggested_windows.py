"""Windows of georeferenced images as polygons."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from rasterio.transform import xy

from egmim_mm.records import whole_file
from egmim_mm.storage.rasters import is_placed, open_raster

__all__ = ['write_boxes']


def write_boxes(windows: Sequence[tuple[str, int, int]], side: int, target: str | Path) -> bool:
    """Write windows as a GeoPackage, in the order of their ``rank``, with the file of each.

    Args:
        windows: File of the image, x and y of the upper left corner, px.
        side: Of the windows, px.
        target: The GeoPackage.

    Returns:
        Whether it was written: not unless all images have a place on the map, in one coordinate system. One that is
        there from before is then removed.
    """
    target, outlines, systems = Path(target), [], set()
    for path, x, y in windows:
        with open_raster(path) as source:
            if not is_placed(source) or source.crs is None:
                systems.add(None)
                break
            systems.add(source.crs.to_wkt())
            corners = xy(source.transform, [y, y, y + side, y + side], [x, x + side, x + side, x], offset='ul')
            outlines.append(shapely.Polygon(np.stack(corners, 1)))
    if len(systems) != 1 or None in systems:
        target.unlink(missing_ok=True)
        return False
    with whole_file(target) as draft:
        pyogrio.raw.write(draft, shapely.to_wkb(np.array(outlines, object)),
                          [np.arange(1, len(windows) + 1, dtype=np.int32),
                           np.array([Path(path).name for path, _, _ in windows], object)], ['rank', 'tile'],
                          layer=target.stem, driver='GPKG', geometry_type='Polygon', crs=systems.pop())
    return True
