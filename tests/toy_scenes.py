"""Georeferenced toy scenes whose colours tell the class: water, vegetation, buildings."""
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from egmim_mm.converters.folder import convert_folder

COLORS = np.array([[30, 40, 110], [70, 140, 60], [210, 200, 190]])
CLASSES = ['water', 'veg', 'building']
PLACE = dict(crs='EPSG:32632', transform=from_origin(400_000, 5_700_000, 0.5, 0.5))


def scene(size=64, seed=0):
    """An image whose colours tell the class, (H, W, 3) uint8, and its labels, (H, W) uint8."""
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 3, (size // 8, size // 8)), np.ones((8, 8), int)).astype(np.uint8)
    return (COLORS[labels] + rng.integers(-9, 10, (size, size, 3))).astype(np.uint8), labels


def classes_of(image):
    """(H, W, 3) -> (H, W): what the colours say."""
    return np.linalg.norm(image[..., None, :].astype(float) - COLORS, axis=-1).argmin(axis=-1)


def write_raster(path: Path, pixels, mask=None, **profile):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    with rasterio.open(path, 'w', **(dict(driver='GTiff') | PLACE | profile), height=pixels.shape[0],
                       width=pixels.shape[1], count=pixels.shape[2], dtype=pixels.dtype) as file:
        file.write(np.moveaxis(pixels, -1, 0))
        if mask is not None:
            file.write_mask(mask)
    return path


def read_raster(path):
    with rasterio.open(path) as file:
        return np.moveaxis(file.read(), 0, -1)


def convert(root, **options):
    """What the folder converter makes of ``root`` in ``root/out``; the manifest."""
    arguments = dict(classes=CLASSES, crop=None, stride=None) | options
    return convert_folder(str(root), str(root / 'out'), **arguments)


def converted(root, name='a'):
    """Image and labels of a training tile."""
    image, label = (read_raster(root / f'out/{kind}_dir/train/{name}.tif') for kind in ('img', 'ann'))
    return image, label[..., 0]
