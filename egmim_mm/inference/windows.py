"""Where windows lie, and how much a pixel of a window counts where windows overlap."""
from math import ceil

import numpy as np

__all__ = ['blend_weights', 'check_window', 'window_side', 'window_starts']

STRIDE = 32  # of Swin and most other backbones, px


def check_window(window: int, overlap: float) -> None:
    """Raise a ValueError unless ``window`` is at least 1 and ``overlap`` lies in [0, 0.9]."""
    if window < 1:
        raise ValueError(f'window {window} must be at least 1 px')
    if not 0 <= overlap <= 0.9:
        raise ValueError(f'overlap {overlap} must lie in [0, 0.9]: it is a share of the window')


def window_side(size: int, window: int) -> int:
    """Side of the windows along an axis of ``size`` px: ``window``, or less where the image is smaller.

    A smaller image is filled up to the next multiple of 32 px, not to the whole window.
    """
    return min(window, ceil(size / STRIDE) * STRIDE)


def window_starts(size: int, side: int, overlap: float) -> list[int]:
    """First pixels of the windows along one axis: as few as cover it with this overlap, evenly spread.

    Args:
        size: Length of the axis, px.
        side: Of a window, px.
        overlap: Least share of a window that the next one covers too, rounded to pixels.

    Returns:
        Ascending, from 0; the last window ends with the axis, or reaches beyond it if ``size < side``.
    """
    if size <= side:
        return [0]
    steps = ceil((size - side) / max(1, round(side * (1 - overlap))))
    return [i * (size - side) // steps for i in range(steps + 1)]


def blend_weights(side: int, overlap: float) -> np.ndarray:
    """Weight of each pixel along one axis of a window: 1 in the middle, sin^2 ramps at the ends.

    A ramp is as long as the overlap, but an eighth of the window at most: enough to let no seam show, and between the
    ramps two windows count alike, which makes the better map.

    Returns:
        (side, ) float32 in (0, 1].
    """
    width = round(side * min(overlap, 1 / 8))
    ramp = np.sin(np.pi / 2 * (np.arange(width) + 0.5) / width) ** 2 if width else np.ones(0)
    return np.concatenate([ramp, np.ones(side - 2 * width), ramp[::-1]]).astype(np.float32)
