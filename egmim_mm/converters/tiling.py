"""Where the tiles of an image lie, and what they are called. Pure."""
from typing import NamedTuple

from .archives import ConversionError

__all__ = ['NAMINGS', 'Window', 'check_grid', 'tile_name', 'tile_starts', 'tile_windows']

# mmsegmentation's tile names: its ISPRS converters write x before y, the one for iSAID y before x.
NAMINGS = {'xyxy': '{source}_{x0}_{y0}_{x1}_{y1}', 'yyxx': '{source}_{y0}_{y1}_{x0}_{x1}'}


class Window(NamedTuple):
    """Part of an image, px."""

    top: int
    left: int
    height: int
    width: int


def tile_starts(length: int, crop: int, stride: int) -> list[int]:
    """First pixel of each tile along one side: every ``stride`` px, the last one moved back to end at the border."""
    if length <= crop:
        return [0]
    starts = list(range(0, length - crop + 1, stride))
    return starts if starts[-1] == length - crop else [*starts, length - crop]


def tile_windows(height: int, width: int, crop: int | None, stride: int | None) -> list[Window]:
    """Windows of crop x crop px that cover an image, row by row; a side below the crop is taken whole.

    ``crop`` None: one window, the image.
    """
    if crop is None:
        return [Window(0, 0, height, width)]
    return [Window(top, left, min(crop, height), min(crop, width))
            for top in tile_starts(height, crop, stride) for left in tile_starts(width, crop, stride)]


def tile_name(source: str, window: Window, naming: str) -> str:
    """Name of a tile without suffix; ``naming`` is a key of ``NAMINGS``."""
    return NAMINGS[naming].format(source=source, x0=window.left, y0=window.top, x1=window.left + window.width,
                                  y1=window.top + window.height)


def check_grid(crop: int | None, stride: int | None) -> None:
    """Raise ConversionError for a crop or stride that leaves gaps or makes no tiles."""
    if crop is None:
        if stride is not None:
            raise ConversionError(f'a stride of {stride} px needs a crop: give --crop')
        return
    if crop < 1:
        raise ConversionError(f'--crop {crop} must be at least 1 px')
    if stride is None or not 1 <= stride <= crop:
        raise ConversionError(f'--stride {stride} must be between 1 px and the crop of {crop} px, or pixels are lost')
