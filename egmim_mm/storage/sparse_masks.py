"""Masks of which few pixels are labelled: points, lines, a few polygons. Pure NumPy."""
import numpy as np

from .mask_values import IGNORE

__all__ = ['burn', 'disc', 'is_sparse']

# Most masks are labelled nearly everywhere, weak ones by a few per cent: the exact share does not matter
_SPARSE = 0.5


def is_sparse(labels: np.ndarray) -> bool:
    """Whether less than half of the pixels are labelled: an unlabelled one then means that nobody looked at it, and not
    that it shows none of the classes."""
    return np.count_nonzero(labels != IGNORE) < _SPARSE * labels.size


def disc(radius: float) -> np.ndarray:
    """(2 r + 1, 2 r + 1) bool, r = int(radius): pixels at most ``radius`` px from the central one."""
    steps = np.arange(-int(radius), int(radius) + 1)
    return steps[:, None]**2 + steps**2 <= radius**2


def burn(labels: np.ndarray, shape: np.ndarray, top: int, left: int, number: int) -> int:
    """Write a class into labels, also over other classes.

    Args:
        labels: (H, W) uint8, 255 = unlabelled; changed in place.
        shape: (h, w) bool: where.
        top, left: Place of its first pixel, which may lie outside, px.
        number: The class.

    Returns:
        Pixels that had another class before.
    """
    above, before = max(0, -top), max(0, -left)
    own = labels[top + above:max(0, top + shape.shape[0]), left + before:max(0, left + shape.shape[1])]
    shape = shape[above:above + own.shape[0], before:before + own.shape[1]]
    other = int((shape & (own != IGNORE) & (own != number)).sum())
    own[shape] = number
    return other
