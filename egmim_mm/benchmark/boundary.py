"""Boundary metrics of an image: ours against one erosion for each class and width, as in the published codes."""
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import cv2
import numpy as np
import torch

from egmim_mm.evaluation.boundary import boundary_counts, diagonal_width
from egmim_mm.evaluation.boundary_metric import BoundaryMetric

from .rows import Row, paired_row
from .timing import interleaved

__all__ = ['boundary_rows', 'measure']

CLASSES = 7  # as LoveDA
WIDTHS, TOLERANCE, SHARE = (3, 5), 3, 0.02  # those of BoundaryMetric
STOCK, OURS = 'a filter for each class and width', 'all classes at once'
NOTE = ('boundary IoU of three widths and boundary F1 of images with seven classes. The baseline erodes each class for '
        "each width, as the authors' code of boundary IoU, and dilates the boundary of each class by a disk, as in "
        'Perazzi et al., CVPR 2016, both with OpenCV. Both give the same counts. The first row is CPU time')

Maps = tuple[np.ndarray, np.ndarray]


def measure(argument: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows as dicts, with ``threads``, for a child process."""
    return [asdict(row) for row in boundary_rows(threads=argument['threads'])]


def boundary_rows(size: int = 1024, rounds: int = 5, threads: int = 1) -> list[Row]:
    """Time the counts of an image in one thread, and :class:`BoundaryMetric` over a few images in ``threads``.

    Args:
        size: Side of the images, px.
        rounds: Timings of each.
        threads: Of the metric.

    Raises:
        RuntimeError: The two ways differ.
    """
    cv2.setNumThreads(0)
    pairs = label_pairs(size, 2)
    widths = [*WIDTHS, diagonal_width((size, size), SHARE)]
    ways: dict[str, Callable[[Maps], np.ndarray]] = {
        STOCK: lambda pair: class_by_class(*pair, CLASSES, widths, TOLERANCE),
        OURS: lambda pair: boundary_counts(*pair, CLASSES, widths, TOLERANCE)}
    for pair in pairs:
        if not np.array_equal(*(way(pair) for way in ways.values())):
            raise RuntimeError('the two ways to count boundaries differ')
    steps = {name: lambda way=way: way(pairs[0]) for name, way in ways.items()}
    alone = interleaved(steps, rounds, clock=time.process_time)
    images = 4 * threads

    def serial() -> None:
        for number in range(images):
            ways[STOCK](pairs[number % len(pairs)])

    together = interleaved({STOCK: serial, OURS: lambda: _run_metric(pairs, images, threads)}, rounds)
    return [paired_row(f'boundary metrics of a {size}-px image', f'{OURS}{added}', STOCK, 'ms', *(
        [1000 * second / divisor for second in seconds[name]] for name in (OURS, STOCK)), better='less', note=NOTE)
        for added, seconds, divisor in (('', alone, 1), (f', {threads} thread{"s" * (threads > 1)}', together, images))]


def label_pairs(size: int, number: int) -> list[Maps]:
    """Predictions and truths with regions of about a tenth of the side, (size, size) int64.

    The borders of a prediction are moved by some pixels, and some regions are wrong.
    """
    pairs = []
    for seed in range(number):
        rng = np.random.default_rng(seed)
        fields = [np.stack([cv2.GaussianBlur(rng.standard_normal((size, size)), None, sigma) * sigma
                            for _ in range(CLASSES)]) for sigma in (size / 32, size / 128)]
        pairs.append(((fields[0] + 0.2 * fields[1]).argmax(0), fields[0].argmax(0)))
    return pairs


def class_by_class(prediction: np.ndarray, target: np.ndarray, classes: int, widths: Sequence[int],
                   tolerance: int) -> np.ndarray:
    """What :func:`boundary_counts` gives, by the definitions."""
    shown = np.where(target == 255, 255, prediction)
    steps = np.arange(-tolerance, tolerance + 1)
    disk = (steps[:, None]**2 + steps**2 <= tolerance**2).astype(np.uint8)
    square, counts = np.ones((3, 3), np.uint8), np.zeros((2 * len(widths) + 4, classes), np.int64)
    for index in range(classes):
        regions = [(labels == index).astype(np.uint8) for labels in (shown, target)]
        for row, width in enumerate(widths):
            bands = []
            for region in regions:
                framed = cv2.copyMakeBorder(region, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
                bands.append(region - cv2.erode(framed, square, iterations=width)[1:-1, 1:-1])
            counts[2 * row:2 * row + 2, index] = (bands[0] & bands[1]).sum(), (bands[0] | bands[1]).sum()
        thin = []
        for labels, region in zip((shown, target), regions):
            others = ((labels != index) & (labels != 255)).astype(np.uint8)
            thin.append(region & cv2.dilate(others, square))
        near = [cv2.dilate(edge, disk) for edge in thin]
        counts[-4:, index] = [pixels.sum() for pixels in (thin[0] & near[1], thin[0], thin[1] & near[0], thin[1])]
    return counts


def _run_metric(pairs: Sequence[Maps], images: int, threads: int) -> None:
    metric = BoundaryMetric(WIDTHS, SHARE, TOLERANCE, threads=threads)
    metric.dataset_meta = dict(classes=[str(index) for index in range(CLASSES)])
    for number in range(images):
        prediction, truth = (torch.from_numpy(labels)[None] for labels in pairs[number % len(pairs)])
        metric.process({}, [dict(pred_sem_seg=dict(data=prediction), gt_sem_seg=dict(data=truth))])
    metric.evaluate(images)
