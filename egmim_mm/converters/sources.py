"""What is converted and how: images with their masks, and the recipe of the tiles."""
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .archives import ConversionError, Member
from .label_table import LabelTable

__all__ = ['PixelShapes', 'Recipe', 'Source', 'pair_sources']


@dataclass(frozen=True)
class PixelShapes:
    """Labels that were drawn on an image.

    Args:
        geometries: (N,) shapely, in px: x = column and y = row, from the upper left corner; later ones win.
        numbers: (N,) uint8: class of each, 255 = no label.
        radius: Of points and lines, px.
    """

    geometries: np.ndarray
    numbers: np.ndarray
    radius: float


@dataclass(frozen=True)
class Source:
    """One image of a download with its masks.

    Args:
        name: Stem of its tiles.
        split: 'train', 'val', ...
        image: The image.
        masks: Folder of the mask tiles ('ann_dir') -> mask.
        shapes: Labels in place of a mask. Tiles without any are then written without mask if they are for training, and
            else left out.
    """

    name: str
    split: str
    image: Member
    masks: Mapping[str, Member] = field(default_factory=dict)
    shapes: PixelShapes | None = None


@dataclass(frozen=True)
class Recipe:
    """How images become tiles.

    Args:
        table: Numbers of the classes.
        crop: Side of a tile, px; None: whole images under their own names.
        stride: Step between tiles, px.
        naming: See ``tiling.NAMINGS``.
        pad: Whether an image smaller than the crop is filled up below and on the right, with 0 and with
            ``table.ignored`` in masks.
        gray: Whether images of one band stay so; otherwise they get three equal bands.
        suffix: '.png' or '.tif' of image and mask tiles.
        mask_suffix: Another ending of mask tiles.
        bands: Bands of the files, from 1 on; None: all but alpha.
        scale: Values that become 0 and 255; None: samples are 8-bit.
        nodata: See :func:`egmim_mm.storage.rasters.valid_pixels`.
        min_valid: Share of a tile that must hold data, in [0, 1]; without any data it is never written, and labels
            without data become ``table.ignored``. None: the images have no gaps, every tile is written.
    """

    table: LabelTable
    crop: int | None = 512
    stride: int | None = 512
    naming: str = 'xyxy'
    pad: bool = False
    gray: bool = False
    suffix: str = '.png'
    mask_suffix: str | None = None
    bands: tuple[int, ...] | None = None
    scale: tuple[float, float] | None = None
    nodata: float | str | None = None
    min_valid: float | None = None


def pair_sources(images: Mapping[str, Member], masks: Mapping[str, Mapping[str, Member]],
                 split: Callable[[str], str], partial: bool = False) -> list[Source]:
    """Put images and masks of the same name together.

    Args:
        images: Name -> image.
        masks: Folder of the mask tiles -> name -> mask.
        split: Function: name -> split.
        partial: Leave out what has no counterpart.

    Raises:
        ConversionError: An image without mask, or a mask without image.
    """
    if partial:
        whole = set(images).intersection(*masks.values())
        images = {name: images[name] for name in whole}
        masks = {folder: {name: named[name] for name in whole} for folder, named in masks.items()}
    for named in masks.values():
        alone = sorted(images.keys() - named.keys())
        if alone:
            raise ConversionError(f'{len(alone)} of {len(images)} images have no mask: {", ".join(alone[:8])} '
                                  f'(for example {images[alone[0]]}); the masks are in '
                                  f'{_archives(named) or "no archive"}')
        alone = sorted(named.keys() - images.keys())
        if alone:
            raise ConversionError(f'{len(alone)} of {len(named)} masks have no image: {", ".join(alone[:8])} '
                                  f'(for example {named[alone[0]]}); the images are in {_archives(images)}')
    return [Source(name, split(name), images[name], {folder: named[name] for folder, named in masks.items()})
            for name in sorted(images)]


def _archives(members: Mapping[str, Member]) -> str:
    return ', '.join(sorted({Path(member.archive).name for member in members.values()}))
