"""Boundary IoU of a test set, beside the region metrics."""

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from egmim_mm.registry import METRICS

from .boundary import boundary_iou


@METRICS.register_module()
class BoundaryMetric(BaseMetric):
    """Boundary IoU (Cheng et al., CVPR 2021), intersections and unions summed over the set.

    Returns ``boundary_mIoU_<w>px``, the mean over the classes that occur in truth or prediction, and
    ``boundary_IoU_<w>px/<class>``, in per cent; NaN for a class that does not occur. mIoU is ruled by the inside of
    large regions; this one sees only the band of ``w`` px along their borders.

    Args:
        widths (Sequence[int]): Widths of the bands, px.
        ignore_index (int): Label of pixels that do not count.
    """

    default_prefix = ''

    def __init__(self, widths: Sequence[int] = (3, 5), ignore_index: int = 255, **kwargs) -> None:
        super().__init__(**kwargs)
        if not widths or min(widths) < 1:
            raise ValueError(f'widths of boundary bands must be 1 px or more, got {widths}')
        self.widths, self.ignore_index = tuple(widths), ignore_index
        self.units = {key: '%' for w in self.widths for key in (f'boundary_mIoU_{w}px', f'boundary_IoU_{w}px/*')}

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count each image; one (widths, 2, K) int64 array per image is kept."""
        classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            prediction, target = (sample[key]['data'].squeeze(0).cpu().numpy()
                                  for key in ('pred_sem_seg', 'gt_sem_seg'))
            self.results.append(np.stack([
                np.stack(boundary_iou(prediction, target, classes, width, self.ignore_index)) for width in self.widths
            ]))

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """Divide the sums; values in per cent."""
        intersection, union = np.sum(results, axis=0).transpose(1, 0, 2)  # each (widths, K)
        scores = {}
        for width, shares in zip(self.widths, 100 * intersection / np.where(union, union, np.nan)):
            mean = np.nanmean(shares) if np.isfinite(shares).any() else np.nan
            scores[f'boundary_mIoU_{width}px'] = float(mean)
            scores |= {f'boundary_IoU_{width}px/{name}': float(share)
                       for name, share in zip(self.dataset_meta['classes'], shares)}
        return scores
