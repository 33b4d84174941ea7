"""Boundary IoU (Cheng et al., CVPR 2021): IoU of the thin bands just inside the region borders."""

import numpy as np
from scipy import ndimage


def boundary_iou(prediction: np.ndarray,
                 target: np.ndarray,
                 num_classes: int,
                 width: int,
                 ignore_index: int = 255) -> tuple[np.ndarray, np.ndarray]:
    """Intersections and unions of the boundary bands of two label maps.

    The band of a class is its region less the region eroded ``width`` times by a 3x3 square with zero
    padding, so the image border counts as boundary, as in the authors' code. Pixels ignored in the
    target are taken out of both maps before that; the edge of an ignored area is thus a boundary in
    both maps alike. Sum intersections and unions over the images of a set before dividing.

    Args:
        prediction: (H, W) integer class ids; ``ignore_index`` stands for "no class".
        target: (H, W) integer class ids or ``ignore_index``.
        num_classes: K; class ids are 0..K-1.
        width: Band width in pixels, at least 1.
        ignore_index: Value of the ignored pixels.

    Returns:
        Intersections and unions, two (K,) int64 arrays, in pixels. Both are 0 for an absent class.

    Raises:
        ValueError: If the maps are not 2-D and equal in shape, ``width`` is below 1, or a map holds a
            value that is neither a class id nor ``ignore_index``.
    """
    prediction, target = np.asarray(prediction), np.asarray(target)
    if prediction.ndim != 2 or prediction.shape != target.shape:
        raise ValueError(f'prediction {prediction.shape} and target {target.shape} must be (H, W) '
                         'maps of the same shape')
    if width < 1:
        raise ValueError(f'width is {width}: a boundary band is at least 1 px wide')
    ignored = target == ignore_index
    guess_labels = _labels(np.where(ignored, ignore_index, prediction), num_classes, ignore_index,
                           'prediction')
    truth_labels = _labels(target, num_classes, ignore_index, 'target')
    guess_band, truth_band = _band(guess_labels, width), _band(truth_labels, width)

    both = guess_band & truth_band & (guess_labels == truth_labels)
    intersection = np.bincount(truth_labels[both], minlength=num_classes)
    union = (np.bincount(guess_labels[guess_band], minlength=num_classes) +
             np.bincount(truth_labels[truth_band], minlength=num_classes) - intersection)
    return intersection, union


def _labels(values: np.ndarray, num_classes: int, ignore_index: int, name: str) -> np.ndarray:
    """(H, W) int32 labels in which "no class" is -1."""
    labels = np.where(values == ignore_index, -1, values.astype(np.int32))
    wrong = (labels < -1) | (labels >= num_classes) | ((labels == -1) & (values != ignore_index))
    if wrong.any():
        raise ValueError(f'{name} holds the value {values[wrong][0]}, but there are {num_classes} '
                         f'classes, 0 to {num_classes - 1} (and {ignore_index} for ignored pixels)')
    return labels


def _band(labels: np.ndarray, width: int) -> np.ndarray:
    """(H, W) bool: pixels that have a class and another one, or the outside, within ``width``.

    ``width`` erosions by a 3x3 square are one by a square of 2 * width + 1, and a pixel survives the
    erosion of its own class exactly if all labels in that square are equal. So two filters do the
    work of one erosion per class.
    """
    size, outside = 2 * width + 1, -2
    lowest = ndimage.minimum_filter(labels, size, mode='constant', cval=outside)
    highest = ndimage.maximum_filter(labels, size, mode='constant', cval=outside)
    return (labels >= 0) & (lowest != highest)
