"""Labels on the grid of their image: by their places on the ground when both have one."""
import numpy as np
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.warp import reproject

from .archives import ConversionError
from .rasters import Raster

__all__ = ['align_labels']

PLANE = CRS.from_epsg(3857)  # stands for the unnamed system that two rasters without a name share
SAME_PLACE = 0.5  # px: below it nearest resampling changes nothing but the borders


def align_labels(labels: Raster, image: Raster, name: str, image_name: str) -> tuple[Raster, str]:
    """Labels with the size and place of an image.

    Labels that lie elsewhere, upside down or in another coordinate system are resampled to the nearest pixel; where
    they have none, they are not ``valid``. Without a place in both files the sizes have to agree.

    Args:
        labels: The mask, with any number of bands.
        image: The image.
        name, image_name: The two files, for messages.

    Returns:
        The labels, and a note for the user: empty when nothing had to be done.

    Raises:
        ConversionError: The sizes differ and one has no place, or the two do not overlap.
    """
    shape, own = image.pixels.shape[:2], labels.pixels.shape[:2]
    if labels.transform is None or image.transform is None:
        if own != shape:
            raise ConversionError(f'{name}: the mask has {own[0]} x {own[1]} px (height x width), its image '
                                  f'{image_name} has {shape[0]} x {shape[1]}')
        return labels, ''
    from_crs, to_crs = labels.crs or image.crs or PLANE, image.crs or labels.crs or PLANE
    if from_crs == to_crs and own == shape and _offset(labels, image) < SAME_PLACE:
        return labels, ''
    grid = dict(src_transform=labels.transform, src_crs=from_crs, dst_transform=image.transform, dst_crs=to_crs,
                resampling=Resampling.nearest)
    pixels = np.zeros((labels.pixels.shape[-1], *shape), labels.pixels.dtype)
    reproject(np.ascontiguousarray(np.moveaxis(labels.pixels, -1, 0)), pixels, **grid)
    covered, valid = (np.zeros(shape, np.uint8) for _ in range(2))
    reproject(np.ones(own, np.uint8), covered, **grid)
    reproject(labels.valid.astype(np.uint8), valid, **grid)
    if not covered.any():
        raise ConversionError(f'{name}: lies elsewhere than its image {image_name} ({_told(labels)}, the image '
                              f'{_told(image)}); give it the right place or coordinate system')
    how = f'from {from_crs.to_string()} to {to_crs.to_string()}' if from_crs != to_crs else 'to the grid of their image'
    aligned = Raster(np.moveaxis(pixels, 0, -1), valid > 0, labels.nodata, labels.palette, image.transform, image.crs)
    return aligned, f'labels were resampled {how}; they cover {covered.mean():.0%} of it'


def _offset(labels: Raster, image: Raster) -> float:
    """How far the corners of two rasters of one size lie apart, px."""
    height, width = image.pixels.shape[:2]
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    there = [~labels.transform * (image.transform * corner) for corner in corners]
    return float(np.abs(np.subtract(there, corners)).max())


def _told(raster: Raster) -> str:
    left, top = raster.transform * (0, 0)
    system = raster.crs.to_string() if raster.crs else 'no coordinate system'
    return f'{system}, its corner at {left:.1f}, {top:.1f}'
