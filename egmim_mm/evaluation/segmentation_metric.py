"""mmseg's IoU metric, with exact counts and every per-class number returned."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import print_log
from mmseg.evaluation import IoUMetric
from PIL import Image

from egmim_mm.records import whole_file
from egmim_mm.records.tables import make_table, table_text
from egmim_mm.registry import METRICS

from .bootstrap import bootstrap_intervals
from .confusion import confusion_matrix, segmentation_scores

LEVEL = 0.95  # of the confidence intervals


@METRICS.register_module()
class SegmentationMetric(IoUMetric):
    """mIoU, mF1, OA, mAcc, kappa and per-class IoU and F1 from the pooled confusion matrix.

    mmseg's :class:`IoUMetric` logs the per-class values and drops them, rounds the others, and sums
    pixels in float32. This one keeps its options ``ignore_index``, ``output_dir`` (write the
    predictions as PNG, in the folders of the tiles), ``format_only``, ``collect_device`` and
    ``prefix``, and returns all numbers of :func:`~egmim_mm.evaluation.segmentation_scores`, unrounded.

    Args:
        ignore_index: Label of pixels that do not count.
        output_dir: Folder for the predictions; None: they are not written.
        bootstrap_draws: Resamples of the test images for the confidence intervals; 0: no intervals.
        bootstrap_seed: Seed of the resampling.

    Attributes:
        confidence (dict | None): 95 % confidence intervals of the scores of the last evaluation, with how they came
            about: ``level``, ``method``, ``draws``, ``seed``, ``images``, ``intervals`` (score -> [lower, upper]).
            None with fewer than two images.
        confusion (Tensor | None): (K, K) int64 counts of the last evaluation (rows: truth, columns:
            prediction); set in the main process, where :class:`ResultsHook` reads it.
        units (dict): Unit of each score; a key ending in ``/*`` stands for all classes.
    """

    units = {'mIoU': '%', 'mF1': '%', 'OA': '%', 'mAcc': '%', 'kappa': '1', 'IoU/*': '%', 'F1/*': '%'}

    default_prefix = ''  # with None the engine warns that names may clash

    def __init__(self, ignore_index: int = 255, output_dir: str | None = None, bootstrap_draws: int = 1000,
                 bootstrap_seed: int = 0, **kwargs) -> None:
        super().__init__(ignore_index=ignore_index, **kwargs)
        if bootstrap_draws < 0 or bootstrap_draws == 1:
            raise ValueError(f'bootstrap_draws is {bootstrap_draws}: give 2 or more, or 0 for no confidence intervals')
        self.bootstrap_draws, self.bootstrap_seed = bootstrap_draws, bootstrap_seed
        self.prediction_dir = output_dir  # not the parent's, which would name files by their last part
        self.confusion = self.confidence = None

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count each image; with ``output_dir`` also write its prediction as ``<tile name>.png``."""
        super().process(data_batch, data_samples)
        if self.prediction_dir is None:
            return
        for sample in data_samples:
            path = Path(self.prediction_dir, (sample.get('tile_name') or Path(sample['img_path']).stem) + '.png')
            classes = sample['pred_sem_seg']['data'].squeeze().cpu().numpy()
            with whole_file(path) as draft:
                Image.fromarray(classes.astype(np.uint8)).save(draft)

    # The parent's `process` calls this for each image and stores what it returns.
    intersect_and_union = staticmethod(confusion_matrix)

    def compute_metrics(self, results: list[torch.Tensor]) -> dict[str, float]:
        """Pool the matrices of all images and score them.

        Args:
            results: One (K, K) int64 tensor for each image.

        Returns:
            The scores; empty with ``format_only``.
        """
        if self.format_only:
            return {}
        classes = self.dataset_meta['classes']
        self.confusion = torch.stack(results).sum(0)
        scores = segmentation_scores(self.confusion, classes)
        self.confidence = self._confidence(torch.stack(results).numpy())
        print_log('per-class results:\n' + _table(scores, classes), logger='current')
        if self.confidence:
            low, high = self.confidence['intervals']['mIoU']
            print_log(f'mIoU {scores["mIoU"]:.2f} %, 95 % interval over images {low:.2f} to {high:.2f} %',
                      logger='current')
        return scores

    def _confidence(self, confusions: np.ndarray) -> dict | None:
        if not self.bootstrap_draws or len(confusions) < 2:
            return None
        intervals = bootstrap_intervals(confusions, self.dataset_meta['classes'], self.bootstrap_draws,
                                        self.bootstrap_seed, LEVEL)
        return dict(level=LEVEL, method='percentile bootstrap over images', draws=self.bootstrap_draws,
                    seed=self.bootstrap_seed, images=len(confusions), intervals=intervals)


def _table(scores: dict[str, float], classes: Sequence[str]) -> str:
    """Plain-text table, a row for each class and one for the means."""
    cells = [(name, f'{scores[f"IoU/{name}"]:.2f}', f'{scores[f"F1/{name}"]:.2f}') for name in classes]
    cells.append(('mean', f'{scores["mIoU"]:.2f}', f'{scores["mF1"]:.2f}'))
    return table_text(make_table(('class', ), ('IoU %', 'F1 %'), cells, style='plain'))
