"""Boundary IoU (Cheng et al., CVPR 2021) and boundary F1 (Csurka et al., BMVC 2013) of two label maps."""

from collections.abc import Sequence

import cv2
import numpy as np

_SQUARE = np.ones((3, 3), np.uint8)
_OUTSIDE, _NONE, _FIRST = 0, 1, 2  # codes of what lies outside the image, of "no class" and of class 0


def boundary_counts(prediction: np.ndarray,
                    target: np.ndarray,
                    num_classes: int,
                    widths: Sequence[int],
                    tolerance: float | None = None,
                    ignore_index: int = 255) -> np.ndarray:
    """What :func:`boundary_iou` counts for several widths, and :func:`boundary_matches`, in one go.

    Args:
        prediction, target, num_classes, ignore_index: See :func:`boundary_iou`.
        widths: Widths of bands in pixels, each at least 1.
        tolerance: See :func:`boundary_matches`; None: without its counts.

    Returns:
        (2 * len(widths) [+ 4], K) int64, in pixels: intersections and unions of each width, then the four rows of
        :func:`boundary_matches`.

    Raises:
        ValueError: As :func:`boundary_iou` and :func:`boundary_matches`.
    """
    if len(widths) and min(widths) < 1:
        raise ValueError(f'width is {min(widths)}: a boundary band is at least 1 px wide')
    if tolerance is not None and tolerance < 0:
        raise ValueError(f'tolerance is {tolerance}: it is a distance in px, 0 or more')
    guess, truth = _code_pair(prediction, target, num_classes, ignore_index)
    counts = [_band_counts(guess, truth, num_classes, widths)] if len(widths) else []
    if tolerance is not None:
        counts.append(_match_counts(guess, truth, num_classes, tolerance))
    return np.concatenate(counts)


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
    intersection, union = boundary_counts(prediction, target, num_classes, (width, ), ignore_index=ignore_index)
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
    labels = np.asarray(labels)
    codes = labels.astype(np.uint16) + np.uint16(_FIRST)
    codes[labels == ignore_index] = _NONE
    return _edges(codes)


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
    return boundary_counts(prediction, target, num_classes, (), tolerance, ignore_index)


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


def _code_pair(prediction: np.ndarray, target: np.ndarray, num_classes: int,
               ignore_index: int) -> tuple[np.ndarray, np.ndarray]:
    """Both maps, checked, as (H, W) codes: class + ``_FIRST``; ``_NONE`` is "no class" and what the target ignores."""
    prediction, target = np.asarray(prediction), np.asarray(target)
    if prediction.ndim != 2 or prediction.shape != target.shape:
        raise ValueError(f'prediction {prediction.shape} and target {target.shape} must be (H, W) '
                         'maps of the same shape')
    ignored = target == ignore_index
    return (_codes(prediction, num_classes, ignored | (prediction == ignore_index), ignore_index, 'prediction'),
            _codes(target, num_classes, ignored, ignore_index, 'target'))


def _codes(values: np.ndarray, num_classes: int, none: np.ndarray, ignore_index: int, name: str) -> np.ndarray:
    if values.size and not 0 <= values.min() <= values.max() < num_classes:
        wrong = ((values < 0) | (values >= num_classes)) & ~none
        if wrong.any():
            raise ValueError(f'{name} holds the value {values[wrong][0]}, but there are {num_classes} '
                             f'classes, 0 to {num_classes - 1} (and {ignore_index} for ignored pixels)')
    codes = values.astype(_unsigned(num_classes + _FIRST))
    codes += codes.dtype.type(_FIRST)
    codes[none] = _NONE
    return codes


def _unsigned(number: int) -> type[np.unsignedinteger]:
    """The type of 0..number - 1; OpenCV filters bytes twice as fast."""
    return np.uint8 if number <= 256 else np.uint16


def _band_counts(guess: np.ndarray, truth: np.ndarray, num_classes: int, widths: Sequence[int]) -> np.ndarray:
    """(2 * len(widths), K) int64: intersections and unions of each width.

    Bands are nested: one histogram over classes and the number of bands that a pixel lies outside of serves them all.
    """
    order, bins = np.argsort(widths), len(widths) + 1
    kind = _unsigned((num_classes + _FIRST) * bins)
    outside = [sum((~_band(codes, widths[place])).view(np.uint8) for place in order) for codes in (guess, truth)]

    def inside(codes: np.ndarray, outside: np.ndarray) -> np.ndarray:  # (len(widths), K) pixels in each band
        pixels = _histogram(codes.astype(kind) * kind(bins) + outside, (num_classes + _FIRST) * bins)
        return pixels.reshape(-1, bins)[_FIRST:].cumsum(1).T[:-1]

    both = inside(np.where(guess == truth, guess, guess.dtype.type(_NONE)), np.maximum(*outside))
    counts = np.empty((len(widths), 2, num_classes), np.int64)
    counts[order, 0] = both
    counts[order, 1] = inside(guess, outside[0]) + inside(truth, outside[1]) - both
    return counts.reshape(-1, num_classes)


def _histogram(cells: np.ndarray, number: int) -> np.ndarray:
    """How often each of 0..number - 1 occurs, (number, ) int64; OpenCV's float32 counts are exact up to 2**24."""
    rows = max(1, 2**24 // cells.shape[1])
    return sum(cv2.calcHist([cells[top:top + rows]], [0], None, [number], [0, number]).ravel().astype(np.int64)
               for top in range(0, cells.shape[0], rows))


def _band(codes: np.ndarray, width: int) -> np.ndarray:
    """(H, W) bool: pixels that have a class and another one, or the outside, within ``width``.

    ``width`` erosions by a 3x3 square are one by a square of 2 * width + 1, and a pixel survives the
    erosion of its own class exactly if all labels in that square are equal. So two filters do the
    work of one erosion per class.
    """
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    lowest = cv2.erode(codes, square, borderType=cv2.BORDER_CONSTANT, borderValue=_OUTSIDE)
    return (codes >= _FIRST) & (lowest != cv2.dilate(codes, square))


def _edges(codes: np.ndarray) -> np.ndarray:
    """(H, W) bool: see :func:`class_boundaries`."""
    none = codes == _NONE
    lowest = cv2.erode(np.where(none, np.iinfo(codes.dtype).max, codes), _SQUARE)
    return ~none & (lowest != cv2.dilate(codes, _SQUARE))  # _NONE is below all classes


def _match_counts(guess: np.ndarray, truth: np.ndarray, num_classes: int, tolerance: float) -> np.ndarray:
    """(4, K) int64, see :func:`boundary_matches`.

    Boundaries are few pixels: each looks at its surroundings, from near to far, until it is matched.
    """
    reach = int(tolerance)
    steps = np.arange(-reach, reach + 1)
    square = steps[:, None]**2 + steps**2
    rows, columns = np.nonzero(square <= tolerance**2)
    nearest_first = np.argsort(square[rows, columns], kind='stable')
    edges = [np.pad(np.where(_edges(codes), codes, _OUTSIDE), reach) for codes in (guess, truth)]
    shifts = ((rows - reach) * edges[0].shape[1] + columns - reach)[nearest_first]
    counts = []
    for own, other in ((edges[0].ravel(), edges[1].ravel()), (edges[1].ravel(), edges[0].ravel())):
        places = np.flatnonzero(own)
        codes = own[places]
        total = np.bincount(codes, minlength=num_classes + _FIRST)[_FIRST:]
        for shift in shifts:
            missed = other[places + shift] != codes
            places, codes = places[missed], codes[missed]
        counts += [total - np.bincount(codes, minlength=num_classes + _FIRST)[_FIRST:], total]
    return np.stack(counts)
