"""Points, lines and polygons on the pixels of the images that they lie on."""
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import shapely
from mmengine.logging import print_log
from rasterio import Affine
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.features import rasterize
from rasterio.io import DatasetReader
from rasterio.warp import transform as transform_points

from egmim_mm.storage.mask_values import IGNORE
from egmim_mm.storage.rasters import is_placed
from egmim_mm.storage.sparse_masks import burn, disc

from .archives import ConversionError
from .rasters import opened
from .sources import PixelShapes, Source
from .vector_labels import VectorLayer

__all__ = ['RADIUS', 'burn_shapes', 'with_shapes']

TIE = 1e-3  # px: what lies at the radius belongs to a line, as it does to a disc
RADIUS = 2.0  # px: a click is seldom exact to the pixel; a disc of 13 px is still inside most objects


def with_shapes(sources: Sequence[Source], layers: Sequence[VectorLayer], radius: float = RADIUS) -> list[Source]:
    """Give each image the labels that lie on it. The log says what is reprojected, and what lies on no image.

    Args:
        sources: Images with a place on the ground.
        layers: The labels.
        radius: Of points and lines, px, 0 or more.

    Raises:
        ConversionError: A negative radius, an image without a place, labels without a coordinate system for images that
            have one, or a layer that lies on no image.
    """
    if not radius >= 0:
        raise ConversionError(f'--radius {radius:g} must be 0 px or more')
    placed = [_Placed(layer) for layer in layers]
    labelled = []
    for source in sources:
        with opened(source.image) as image:
            if not is_placed(image):
                raise ConversionError(f'{source.image}: has no place on the ground, on which --labels could lie; '
                                      'give it one (GeoTIFF, or a world file beside it)')
            shapes, numbers = zip(*(one.on(image, str(source.image)) for one in placed))
        labelled.append(replace(source, shapes=PixelShapes(np.concatenate(shapes), np.concatenate(numbers), radius)))
    for one in placed:
        one.check_used(len(sources))
    return labelled


class _Placed:
    """A layer in the coordinate systems of the images, and which of its features lie on one."""

    def __init__(self, layer: VectorLayer) -> None:
        self.layer = layer
        self.trees: dict[CRS | None, shapely.STRtree] = {}
        self.used = np.zeros(len(layer.geometries), bool)

    def on(self, image: DatasetReader, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(n,) shapes in px of the image, x = column and y = row, and their (n,) classes."""
        if image.crs not in self.trees:
            self.trees[image.crs] = shapely.STRtree(self._in(image.crs, name))
        tree = self.trees[image.crs]
        corners = [(0, 0), (image.width, 0), (image.width, image.height), (0, image.height)]
        outline = shapely.Polygon([image.transform * corner for corner in corners])
        rows = np.sort(tree.query(outline, 'intersects'))
        self.used[rows] = True
        return _in_pixels(tree.geometries[rows], ~image.transform), self.layer.numbers[rows]

    def _in(self, crs: CRS | None, image: str) -> np.ndarray:
        own, shapes = self.layer.crs, self.layer.geometries
        if own is None and crs is not None:
            raise ConversionError(f'{self.layer.name}: has no coordinate system, and {image} has {crs.to_string()}; '
                                  'say in the file which it is (QGIS: Set Layer CRS, then export)')
        if crs is None or own == crs:
            return shapes
        print_log(f'{self.layer.name}: labels are reprojected from {own.to_string()} to {crs.to_string()}',
                  logger='current')
        try:
            return shapely.transform(shapes, lambda xy: np.column_stack(transform_points(own, crs, *xy.T)))
        except (RasterioError, CPLE_BaseError) as error:  # PROJ raises the second
            raise ConversionError(f'{self.layer.name}: coordinates that are none of {own.to_string()} ({error}); say '
                                  'in the file which coordinate system it has') from error

    def check_used(self, images: int) -> None:
        """Say which features lie on no image; raises ConversionError if none does."""
        outside = int((~self.used).sum())
        if outside and outside == len(self.used):
            raise ConversionError(f'{self.layer.name}: all {outside} features lie outside of the {images} images; look '
                                  'at their coordinate systems')
        if outside:
            print_log(f'{self.layer.name}: {outside} of {len(self.used)} features lie on no image and are left out',
                      logger='current')


def _in_pixels(shapes: np.ndarray, inverse: Affine) -> np.ndarray:
    def place(xy: np.ndarray) -> np.ndarray:
        x, y = xy.T
        return np.column_stack([inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f])

    return shapely.transform(shapes, place)


def burn_shapes(shapes: PixelShapes, size: tuple[int, int]) -> tuple[np.ndarray, int]:
    """Labels of an image.

    A point labels the pixels at most ``radius`` px from the one that holds it, a line those whose centres are so near,
    a polygon those whose centres it covers.

    Args:
        shapes: In px of the image; later ones win.
        size: (H, W).

    Returns:
        (H, W) uint8, 255 = unlabelled; and the pixels on which a later shape took the place of another class.
    """
    labels, overlapped, reach = np.full(size, IGNORE, np.uint8), 0, int(shapes.radius)
    point = disc(shapes.radius)
    parts, owners = shapely.get_parts(shapes.geometries, return_index=True)
    for part, number in zip(parts, shapes.numbers[owners].tolist()):
        if part.is_empty:
            continue
        if part.geom_type == 'Point':
            overlapped += burn(labels, point, int(part.y // 1) - reach, int(part.x // 1) - reach, number)
            continue
        if part.geom_type != 'Polygon' and shapes.radius:
            part = part.buffer(shapes.radius + TIE, quad_segs=32)
        overlapped += burn(labels, *_covered(part, size), number)
    return labels, overlapped


def _covered(part: shapely.Geometry, size: tuple[int, int]) -> tuple[np.ndarray, int, int]:
    """(h, w) bool: pixels of a line or a polygon inside an image of that size; row and column of the first."""
    left, top, right, bottom = (int(side // 1) for side in part.bounds)
    left, top = max(left, 0), max(top, 0)
    height, width = max(0, min(bottom + 1, size[0]) - top), max(0, min(right + 1, size[1]) - left)
    if not height or not width:
        return np.zeros((0, 0), bool), 0, 0
    return rasterize([part], (height, width), transform=Affine.translation(left, top)) > 0, top, left
