"""Where the errors are: confusion by distance to class boundaries, IoU by the size of objects. Pure functions."""
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from .boundary import class_boundaries


def boundary_distance(target: np.ndarray, ignore_index: int = 255) -> np.ndarray:
    """Distance of each pixel to the nearest class boundary of a label map.

    Args:
        target: (H, W) class ids or ``ignore_index``.
        ignore_index: Value of the ignored pixels; their edge and the image border are no boundary.

    Returns:
        (H, W) float64, px, Euclidean; 0 on a boundary pixel (see
        :func:`~egmim_mm.evaluation.boundary.class_boundaries`), infinite in a map without boundary.
    """
    boundary = class_boundaries(target, ignore_index)
    if not boundary.any():
        return np.full(boundary.shape, np.inf)
    return ndimage.distance_transform_edt(~boundary)


def confusion_by_distance(prediction: np.ndarray, target: np.ndarray, num_classes: int, edges: Sequence[float],
                          reference: np.ndarray | None = None, ignore_index: int = 255) -> np.ndarray:
    """Confusion matrices of the pixels at different distances to the class boundaries of the truth.

    Args:
        prediction: (H, W) class ids in [0, K).
        target: (H, W) class ids in [0, K) or ``ignore_index``.
        num_classes: K.
        edges: Ascending distances in px; bin i holds distances from ``edges[i]`` on and below the next edge, the last
            bin all from its edge on. The first is 0.
        reference: (H, W) map that the boundaries are taken from, such as a full reference; None: ``target``.
        ignore_index: Value of the ignored pixels.

    Returns:
        (len(edges), K, K) int64; rows are the truth. The sum over the bins is the confusion matrix of the image.
    """
    distance = boundary_distance(target if reference is None else reference, ignore_index)
    labelled = target != ignore_index
    bins = np.searchsorted(edges, distance[labelled], side='right') - 1
    cells = (bins * num_classes + target[labelled]) * num_classes + prediction[labelled]
    return np.bincount(cells, minlength=len(edges) * num_classes**2).reshape(-1, num_classes, num_classes)


def iou_counts_by_size(prediction: np.ndarray, target: np.ndarray, num_classes: int, edges: Sequence[float],
                       ignore_index: int = 255) -> np.ndarray:
    """Intersections and unions of each class, shared out over its objects by their size.

    An object is an 8-connected region of one class in the truth. Each pixel of the union of truth and prediction
    belongs to the nearest object of its class; a false alarm thus counts against the object beside it. Summed over
    all bins and with the false alarms of images without the class, the counts are those of the pooled IoU.

    Args:
        prediction, target, num_classes, ignore_index: See :func:`confusion_by_distance`.
        edges: Ascending areas in px; bin i holds objects from ``edges[i]`` on and below the next edge, the last all
            from its edge on. The first is 0.

    Returns:
        (3, len(edges), K) int64: intersections and unions in px, and numbers of objects.
    """
    labelled, counts = target != ignore_index, np.zeros((3, len(edges), num_classes), dtype=np.int64)
    square = np.ones((3, 3), bool)
    for index in range(num_classes):
        truth, guess = target == index, (prediction == index) & labelled
        objects, number = ndimage.label(truth, square)
        if not number:
            continue
        bins = np.searchsorted(edges, np.bincount(objects.ravel())[1:], side='right') - 1  # of each object
        nearest = objects
        if (guess & ~truth).any():
            rows, columns = ndimage.distance_transform_edt(~truth, return_distances=False, return_indices=True)
            nearest = objects[rows, columns]
        for place, pixels in enumerate((truth & guess, truth | guess)):
            counts[place, :, index] = np.bincount(bins[nearest[pixels] - 1], minlength=len(edges))
        counts[2, :, index] = np.bincount(bins, minlength=len(edges))
    return counts
