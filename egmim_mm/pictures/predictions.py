"""What a model got wrong: image, truth, prediction and errors of one tile side by side."""
import re
from collections.abc import Mapping

import numpy as np

from egmim_mm.colors import RIGHT, WRONG

from .sheets import colorize, draw_sheet
from .training_data import class_colors

MIN_WIDTH, MAX_WIDTH = 256, 512  # of a picture on a sheet, px


def error_share(prediction: np.ndarray, target: np.ndarray, ignore_index: int = 255) -> float | None:
    """Share of the labelled pixels that are wrong, in [0, 1]; None without a labelled pixel.

    Args:
        prediction, target: (H, W) integer class ids; ``ignore_index`` in the target means no label.
        ignore_index: Value of the ignored pixels.
    """
    labelled = target != ignore_index
    return float((prediction != target)[labelled].mean()) if labelled.any() else None


def error_map(prediction: np.ndarray, target: np.ndarray, ignore_color: tuple[int, int, int] = (0, 0, 0),
              ignore_index: int = 255) -> np.ndarray:
    """Paint which pixels are right (``RIGHT``), wrong (``WRONG``) and ignored.

    Args:
        prediction, target, ignore_index: See :func:`error_share`.
        ignore_color: RGB, 0..255.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    kinds = np.where(target == ignore_index, 2, prediction != target)
    return np.array([RIGHT, WRONG, ignore_color], dtype=np.uint8)[kinds]


def prediction_sheet(name: str, image: np.ndarray, prediction: np.ndarray, target: np.ndarray,
                     metainfo: Mapping) -> np.ndarray:
    """One row of image, truth, prediction and errors, with the legend of all colours.

    Args:
        name: Title of the image.
        image: (H, W, 3) uint8, RGB.
        prediction, target: (H, W) integer class ids; 255 in the target means no label.
        metainfo: ``classes`` of the data set, and ``palette`` if it has one.

    Returns:
        (height, width, 3) uint8, RGB.
    """
    palette, ignore_color, legend = class_colors(metainfo)
    share = error_share(prediction, target)
    errors = 'errors: no labelled pixel' if share is None else f'errors: {100 * share:.1f} % of the labelled pixels'
    panels = [image, colorize(target, palette, ignore_color), colorize(prediction, palette, ignore_color),
              error_map(prediction, target, ignore_color)]
    return draw_sheet([panels], [name, 'truth', 'prediction', errors],
                      legend | {'errors: right': RIGHT, 'errors: wrong': WRONG},
                      width=min(max(image.shape[1], MIN_WIDTH), MAX_WIDTH))


def sheet_name(rank: int, share: float | None, tile: str) -> str:
    """File name of a sheet. The rank makes it unique, also where two tile names differ only in odd characters.

    >>> sheet_name(3, 0.3418, 'tile_1/part 2')
    '0003_wrong_34.2pct_tile_1_part_2.png'
    """
    wrong = 'unlabelled' if share is None else f'wrong_{100 * share:.1f}pct'
    return f'{rank:04d}_{wrong}_{re.sub(r"[^A-Za-z0-9.-]+", "_", tile)[-120:]}.png'
