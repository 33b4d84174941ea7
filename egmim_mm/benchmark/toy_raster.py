"""A raster of toy noise of any size, for timings."""
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from egmim_mm.synthetic.scene import make_scene

TILE = 512  # px


def write_raster(path: Path, size: int) -> None:
    """A mosaic of up to four scenes in random order: 8-bit RGB, deflate, blocks of 256 px."""
    scenes = [make_scene((0, 0, i), TILE)[0] for i in range(min(4, (size // TILE)**2))]
    rng = np.random.default_rng(0)
    with rasterio.open(path, 'w', driver='GTiff', height=size, width=size, count=3, dtype='uint8', compress='deflate',
                       zlevel=1, tiled=True, blockxsize=256, blockysize=256, crs='EPSG:32633',
                       transform=from_origin(0, 0, 0.2, 0.2)) as target:
        for top in range(0, size, TILE):
            for left in range(0, size, TILE):
                height, width = min(TILE, size - top), min(TILE, size - left)
                scene = np.moveaxis(scenes[rng.integers(len(scenes))][:height, :width], -1, 0)
                target.write(scene, window=Window(left, top, width, height))
