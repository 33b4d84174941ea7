"""Reading pixels: files, tar shards, rasters, masks, bands and their scaling.

What reads tiles is here; ``rasters`` and what builds on it is imported by name, because it brings GDAL along.
"""
from .image_files import SUFFIXES, find_images, matches_any
from .mask_values import IGNORE, MaskValues, parse_color, read_mask
from .tile_reading import TileReadError, image_size, read_image

__all__ = [
    'IGNORE', 'MaskValues', 'SUFFIXES', 'TileReadError', 'find_images', 'image_size', 'matches_any', 'parse_color',
    'read_image', 'read_mask'
]
