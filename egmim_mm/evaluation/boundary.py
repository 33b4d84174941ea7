"""Boundary IoU (Cheng et al., CVPR 2021) and boundary F1 (Csurka et al., BMVC 2013) of two label maps."""

import cv2
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
    if width < 1:
        raise ValueError(f'width is {width}: a boundary band is at least 1 px wide')
    guess_labels, truth_labels = _label_pair(prediction, target, num_classes, ignore_index)
    guess_band, truth_band = _band(guess_labels, width), _band(truth_labels, width)

    both = guess_band & truth_band & (guess_labels == truth_labels)
    intersection = np.bincount(truth_labels[both], minlength=num_classes)
    union = (np.bincount(guess_labels[guess_band], minlength=num_classes) +
             np.bincount(truth_labels[truth_band], minlength=num_classes) - intersection)
    return intersection, union


def diagonal_width(shape: tuple[int, int], share: float) -> int:
    """Width of a band as a share of an image's diagonal, as the authors of boundary IoU compute it.

    Args:
        shape: (height, width) in px.
        share: Of the diagonal, in (0, 1); 0.02 in the paper.

    Returns:
        px, rounded, at least 1.
    """
    return max(1, round(share * float(np.hypot(*shape))))


def class_boundaries(labels: np.ndarray, ignore_index: int = 255) -> np.ndarray:
    """Pixels where two classes meet.

    Args:
        labels: (H, W) class ids from 0 on, below 255, or ``ignore_index``.
        ignore_index: Value of the ignored pixels.

    Returns:
        (H, W) bool: labelled pixels with another class among their 8 neighbours; neither the image border nor an
        ignored pixel is another class.
    """
    labels = np.asarray(labels).astype(np.int32)
    valid = labels != ignore_index
    low = ndimage.minimum_filter(np.where(valid, labels, np.iinfo(np.int32).max), 3)
    high = ndimage.maximum_filter(np.where(valid, labels, -1), 3)
    return valid & (low != high)


def boundary_matches(prediction: np.ndarray,
                     target: np.ndarray,
                     num_classes: int,
                     tolerance: float,
                     ignore_index: int = 255) -> np.ndarray:
    """Boundary pixels of two label maps, and how many of them lie near a boundary of the other map.

    The boundary of a class is its pixels in :func:`class_boundaries`. One of them is matched if the other map has a
    boundary pixel of that class within ``tolerance`` px (Euclidean), by dilation with a disk as in Perazzi et al.,
    CVPR 2016. Pixels ignored in the target are taken out of both maps first. Unlike in :func:`boundary_iou`, the image
    border and the edge of an ignored area are no boundary: both maps would have it, and match.

    Args:
        prediction, target, num_classes, ignore_index: See :func:`boundary_iou`.
        tolerance: px, 0 or more.

    Returns:
        (4, K) int64, in pixels: matched and all of the prediction, matched and all of the target. Sum over the images
        of a set before :func:`boundary_f1`.

    Raises:
        ValueError: As :func:`boundary_iou`, or a negative tolerance.
    """
    if tolerance < 0:
        raise ValueError(f'tolerance is {tolerance}: it is a distance in px, 0 or more')
    maps = _label_pair(prediction, target, num_classes, ignore_index)
    edges = [np.where(class_boundaries(labels, ignore_index=-1), labels, -1) for labels in maps]
    reach = int(tolerance)
    steps = np.arange(-reach, reach + 1)
    disk = (steps[:, None]**2 + steps**2 <= tolerance**2).astype(np.uint8)
    counts = np.zeros((4, num_classes), dtype=np.int64)
    for index in range(num_classes):
        thin = [(edge == index).astype(np.uint8) for edge in edges]
        totals = [int(edge.sum()) for edge in thin]
        counts[1, index], counts[3, index] = totals
        if all(totals):
            near = [cv2.dilate(edge, disk) for edge in thin]
            counts[0, index], counts[2, index] = (thin[0] & near[1]).sum(), (thin[1] & near[0]).sum()
    return counts


def boundary_f1(counts: np.ndarray) -> np.ndarray:
    """F1 of boundaries (Csurka et al., BMVC 2013): harmonic mean of precision and recall.

    Args:
        counts: (4, K) sums of :func:`boundary_matches`.

    Returns:
        (K,) in [0, 1]; 0 if only one of the maps has boundaries of the class or none match, NaN if neither has any.
    """
    hit_guess, guess, hit_truth, truth = np.asarray(counts, dtype=np.float64)
    precision, recall = hit_guess / np.maximum(guess, 1), hit_truth / np.maximum(truth, 1)
    both = precision + recall
    f1 = 2 * precision * recall / np.where(both, both, 1)
    return np.where(guess + truth, f1, np.nan)


def _label_pair(prediction: np.ndarray, target: np.ndarray, num_classes: int,
                ignore_index: int) -> tuple[np.ndarray, np.ndarray]:
    """Both maps, checked, as (H, W) int32 in which "no class" and what the target ignores are -1."""
    prediction, target = np.asarray(prediction), np.asarray(target)
    if prediction.ndim != 2 or prediction.shape != target.shape:
        raise ValueError(f'prediction {prediction.shape} and target {target.shape} must be (H, W) '
                         'maps of the same shape')
    shown = np.where(target == ignore_index, ignore_index, prediction)
    return (_labels(shown, num_classes, ignore_index, 'prediction'),
            _labels(target, num_classes, ignore_index, 'target'))


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
