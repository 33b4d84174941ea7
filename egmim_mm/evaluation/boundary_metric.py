"""Boundary IoU and boundary F1 of a test set, beside the region metrics."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import numpy as np
from mmengine.evaluator import BaseMetric

from egmim_mm.cores import cores_per_process
from egmim_mm.registry import METRICS
from egmim_mm.storage.mask_values import read_mask

from .boundary import boundary_counts, boundary_f1, diagonal_width

WAITING = 4  # images that wait for each thread, at most: they are held in memory


@METRICS.register_module()
class BoundaryMetric(BaseMetric):
    """Boundary IoU (Cheng et al., CVPR 2021) and boundary F1 (Csurka et al., BMVC 2013), pooled over the set.

    mIoU is ruled by the inside of large regions; these see the borders only. For each width ``boundary_mIoU_<w>``, the
    mean over the classes that occur in truth or prediction, and ``boundary_IoU_<w>/<class>``, where ``<w>`` is ``3px``
    or, for a share of the diagonal, ``2pct``; then ``boundary_mF1_<t>px`` and ``boundary_F1_<t>px/<class>``. All in
    per cent; NaN for a class that does not occur. Counts are summed over the images before dividing.

    A sample with ``full_seg_map_path`` and ``mask_table`` in its meta information (see
    :class:`~egmim_mm.datasets.SegmentationTiles`) is judged by that mask instead of ``gt_sem_seg``.

    Images are counted by threads, beside the model; their counts are kept in the order of the images.

    Args:
        widths: Widths of the bands, px.
        diagonal_share: One more width, as a share of the diagonal of each image; the paper's is 0.02.
            None: left out.
        f1_tolerance: Distance at which boundaries still match, px, in boundary F1. None: left out.
        ignore_index: Label of pixels that do not count.
        threads: Threads that count. None: as many as this process has cores, 8 at most.

    Raises:
        ValueError: A width below 1 px, no width at all, a share outside (0, 1), a negative tolerance, or no thread.
    """

    default_prefix = ''

    def __init__(self, widths: Sequence[int] = (3, 5), diagonal_share: float | None = 0.02,
                 f1_tolerance: int | None = 3, ignore_index: int = 255, threads: int | None = None,
                 **kwargs) -> None:
        super().__init__(**kwargs)
        if not widths or min(widths) < 1:
            raise ValueError(f'widths of boundary bands must be 1 px or more, got {widths}')
        if diagonal_share is not None and not 0 < diagonal_share < 1:
            raise ValueError(f'diagonal_share is {diagonal_share}: give a share of the diagonal, such as 0.02')
        if f1_tolerance is not None and f1_tolerance < 0:
            raise ValueError(f'f1_tolerance is {f1_tolerance}: it is a distance in px, 0 or more')
        if threads is not None and threads < 1:
            raise ValueError(f'threads is {threads}: give 1 or more')
        self.threads = threads or min(8, cores_per_process())
        self._pool: ThreadPoolExecutor | None = None
        self._open: deque[Future] = deque()
        self.widths, self.diagonal_share = tuple(widths), diagonal_share
        self.f1_tolerance, self.ignore_index = f1_tolerance, ignore_index
        self.width_names = [f'{width}px' for width in self.widths]
        if diagonal_share is not None:
            self.width_names.append(f'{100 * diagonal_share:g}pct')
        names = [(f'boundary_mIoU_{name}', f'boundary_IoU_{name}/*') for name in self.width_names]
        if f1_tolerance is not None:
            names.append((f'boundary_mF1_{f1_tolerance}px', f'boundary_F1_{f1_tolerance}px/*'))
        self.units = {key: '%' for pair in names for key in pair}
        self.per_image: dict[str, np.ndarray] = {}  # of the last evaluation, see write_per_image

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Have each image counted; one (2 * widths [+ 4], K) int64 array per image is kept.

        It waits while too many images are open. An error in an image comes up here or in :meth:`evaluate`.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, 'boundaries')
        for sample in data_samples:
            while len(self._open) >= WAITING * self.threads or self._open and self._open[0].done():
                self.results.append(self._open.popleft().result())
            self._open.append(self._pool.submit(self._counts, _labels(sample['pred_sem_seg']), self._truth(sample)))

    def evaluate(self, size: int) -> dict[str, float]:
        """As the base class's, once all images are counted."""
        while self._open:
            self.results.append(self._open.popleft().result())
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        return super().evaluate(size)

    def _counts(self, prediction: np.ndarray, truth: np.ndarray | Callable[[], np.ndarray]) -> np.ndarray:
        target = truth() if callable(truth) else truth
        widths = list(self.widths)
        if self.diagonal_share is not None:
            widths.append(diagonal_width(target.shape, self.diagonal_share))
        return boundary_counts(prediction, target, len(self.dataset_meta['classes']), widths, self.f1_tolerance,
                               self.ignore_index)

    def _truth(self, sample: dict) -> np.ndarray | Callable[[], np.ndarray]:
        """(H, W) integer labels; of a full reference, if the sample has one, how to read them."""
        full = sample.get('full_seg_map_path')
        return partial(read_mask, full, sample['mask_table']) if full else _labels(sample['gt_sem_seg'])

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """Divide the sums; values in per cent."""
        rows = [f'boundary_iou_{name}' for name in self.width_names]
        rows += [] if self.f1_tolerance is None else [f'boundary_f1_{self.f1_tolerance}px']
        # (N, 2, K) of each width, and (N, 4, K)
        self.per_image = dict(zip(rows, np.split(np.stack(results), range(2, 2 * len(rows), 2), axis=1)))
        counts, scores = np.sum(results, axis=0), {}  # (2 * widths + 4, K)
        for name, (intersection, union) in zip(self.width_names, counts.reshape(-1, 2, counts.shape[1])):
            scores |= self._scores(f'IoU_{name}', intersection / np.where(union, union, np.nan))
        if self.f1_tolerance is not None:
            scores |= self._scores(f'F1_{self.f1_tolerance}px', boundary_f1(counts[-4:]))
        return scores

    def _scores(self, name: str, shares: np.ndarray) -> dict[str, float]:
        classes = self.dataset_meta['classes']
        mean = np.nanmean(shares) if np.isfinite(shares).any() else np.nan
        return {f'boundary_m{name}': float(100 * mean)} | {
            f'boundary_{name}/{label}': float(100 * share) for label, share in zip(classes, shares)}


def _labels(element: dict) -> np.ndarray:
    """(H, W) integers of a ``PixelData`` that became a dict."""
    return element['data'].squeeze(0).cpu().numpy()
