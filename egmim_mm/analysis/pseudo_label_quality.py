"""How right the pseudo-labels of a second stage are, on tiles whose masks are known."""
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from egmim_mm.engine.readout_fitting import normalised
from egmim_mm.evaluation.confusion import segmentation_scores
from egmim_mm.evaluation.strata import confusion_by_distance
from egmim_mm.inference.frozen_backbone import crop_size
from egmim_mm.inference.segmenter import encode_decode
from egmim_mm.models import MeanTeacherSegmentor
from egmim_mm.readout.cells import window_starts

__all__ = ['NEAR', 'label_tile', 'pseudo_label_counts', 'pseudo_label_scores', 'training_crop']

NEAR = 3  # px: as far from a boundary a pixel is near it, on both sides


def training_crop(cfg: Config) -> int:
    """Side of the crops of a training, px: that of its pipeline, else the input of the backbone."""
    steps = cfg.train_dataloader.dataset.get('pipeline') or ()
    sides = [step['crop_size'] for step in steps if 'crop_size' in step]
    return int(np.max(sides[-1])) if sides else crop_size(cfg)


@torch.inference_mode()
def label_tile(model: MeanTeacherSegmentor, image: np.ndarray, crop: int,
               batch: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the teacher finds in a whole tile, which of it counts, and what the student finds.

    Both see windows of the size of the training's crops, unchanged; the last ones end with the tile.

    Args:
        model: In eval mode, so that its thresholds stay those of the checkpoint.
        image: (H, W, C) as the pipeline loads it.
        crop: Side of the windows, px.
        batch: Windows at once.

    Returns:
        Classes of the teacher (H, W) int64, whether they are accepted (H, W) bool, classes of the student (H, W) int64.
    """
    inputs = normalised(model, image)
    height, width = inputs.shape[2:]
    places = [(slice(top, top + crop), slice(left, left + crop)) for top in window_starts(height, crop)
              for left in window_starts(width, crop)]
    labels, accepted, student = (np.zeros((height, width), kind) for kind in (np.int64, bool, np.int64))
    for start in range(0, len(places), batch):
        own = places[start:start + batch]
        found = _label(model, torch.cat([inputs[:, :, rows, columns] for rows, columns in own]))
        for target, maps in zip((labels, accepted, student), found):
            for (rows, columns), values in zip(own, maps.cpu().numpy()):
                target[rows, columns] = values
    return labels, accepted, student


def _label(model: MeanTeacherSegmentor, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, C, H, W) -> three maps (B, H, W)."""
    mean, std = (getattr(model.data_preprocessor, name, neutral) for name, neutral in (('mean', 0), ('std', 1)))
    labels, weights = model.pseudo_labels(images, images * std + mean, torch.ones_like(images[:, :1], dtype=torch.bool))
    return labels[:, 0], weights[:, 0] > 0, encode_decode(model.student, images, len(images)).argmax(1)


def pseudo_label_counts(labels: np.ndarray, accepted: np.ndarray, target: np.ndarray, classes: int,
                        full: np.ndarray | None = None) -> np.ndarray:
    """Pixels of a tile by their distance to a boundary, true class, acceptance and label.

    Args:
        labels: (H, W) integers, 0..K-1.
        accepted: (H, W) bool.
        target: (H, W) integers, 0..K-1, or 255, which is not counted.
        classes: K.
        full: Mask that the boundaries are taken from; None: ``target``.

    Returns:
        (2, K, 2, K) int64: nearer than :data:`NEAR` to a true boundary or not; truth; not accepted or accepted; label.
    """
    # a label that is accepted is counted as one of K more classes
    counts = confusion_by_distance(labels + classes * accepted, target.astype(np.int64), 2 * classes, (0, NEAR), full)
    return counts[:, :classes].reshape(2, classes, 2, classes)


def pseudo_label_scores(counts: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Scores of :func:`pseudo_label_counts` or of their sum, in per cent; NaN where nothing is counted.

    Returns:
        ``accepted_accuracy`` (right among those that are accepted), ``coverage`` (accepted among all), ``accuracy`` and
        ``mIoU`` (of all, accepted or not); ``boundary_accepted_accuracy``, ``boundary_coverage``, ``boundary_accuracy``
        (the same of the pixels near a boundary); ``classes``: for each ``coverage`` (accepted among the pixels that
        are of the class), ``accepted_accuracy`` (right among the accepted ones that are labelled so) and
        ``accepted_share`` (labelled so among all accepted ones).
    """
    scores: dict[str, Any] = dict(mIoU=segmentation_scores(counts.sum((0, 2)), classes)['mIoU'])
    for prefix, some in (('', counts.sum(0)), ('boundary_', counts[0])):  # (K, 2, K)
        accepted, every = some[:, 1], some.sum(1)
        scores |= {f'{prefix}accepted_accuracy': _percent(np.trace(accepted), accepted.sum()),
                   f'{prefix}coverage': _percent(accepted.sum(), every.sum()),
                   f'{prefix}accuracy': _percent(np.trace(every), every.sum())}
    accepted, every = counts[:, :, 1].sum(0), counts.sum((0, 2))
    scores['classes'] = {name: dict(
        coverage=_percent(accepted[number].sum(), every[number].sum()),
        accepted_accuracy=_percent(accepted[number, number], accepted[:, number].sum()),
        accepted_share=_percent(accepted[:, number].sum(), accepted.sum())) for number, name in enumerate(classes)}
    return scores


def _percent(part: float, whole: float) -> float:
    return 100 * float(part) / float(whole) if whole else float('nan')
