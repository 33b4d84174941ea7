"""The pooled confusion matrix and every number that follows from it. Pure functions."""
from collections.abc import Sequence

import numpy as np
import torch


def confusion_matrix(prediction: torch.Tensor,
                     target: torch.Tensor,
                     num_classes: int,
                     ignore_index: int = 255) -> torch.Tensor:
    """Count pixels by (true class, predicted class).

    Counts are 64-bit integers: a float32 sum stops counting exactly at 16.7 million pixels, which is
    a single large raster.

    Args:
        prediction: Class ids in [0, num_classes), any integer dtype and shape.
        target: Class ids in [0, num_classes) or ``ignore_index``, same shape.
        num_classes: K.
        ignore_index: Target value whose pixels are left out.

    Returns:
        (K, K) int64 tensor on the CPU; rows are the truth, columns the prediction.

    Raises:
        ValueError: If the shapes differ or a counted pixel holds a value outside [0, K).
    """
    if prediction.shape != target.shape:
        raise ValueError(f'prediction has shape {tuple(prediction.shape)} and target '
                         f'{tuple(target.shape)}: they must be equal')
    counted = target != ignore_index
    truth, guess = target[counted].long(), prediction[counted].long()
    for name, values in (('target', truth), ('prediction', guess)):
        if values.numel() and not (0 <= int(values.min()) and int(values.max()) < num_classes):
            wrong = values[(values < 0) | (values >= num_classes)][0]
            raise ValueError(f'{name} holds the value {int(wrong)}, but there are {num_classes} '
                             f'classes, 0 to {num_classes - 1} (and {ignore_index} for ignored pixels)')
    counts = torch.bincount(truth * num_classes + guess, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).cpu()


def segmentation_scores(confusion: np.ndarray | torch.Tensor, classes: Sequence[str]) -> dict[str, float]:
    """Scores of a pooled confusion matrix, unrounded.

    A class that is neither in the truth nor in the prediction has no IoU and no F1: its value is NaN
    and it is left out of the means. A class that is in one of the two only scores 0.

    Args:
        confusion: (K, K) counts; rows are the truth, columns the prediction.
        classes: K class names, which become part of the keys.

    Returns:
        ``mIoU``, ``mF1``, ``OA``, ``mAcc`` in per cent; ``kappa`` (Cohen's) as a number in [-1, 1];
        then ``IoU/<class>`` and ``F1/<class>`` in per cent. NaN where undefined (no pixel at all).

    Raises:
        ValueError: If the matrix does not have one row and one column for each class.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(f'the confusion matrix has shape {counts.shape}, but there are '
                         f'{len(classes)} classes: {", ".join(classes)}')
    truth, guess, hit, total = counts.sum(1), counts.sum(0), np.diag(counts), counts.sum()
    with np.errstate(divide='ignore', invalid='ignore'):
        iou = 100 * hit / (truth + guess - hit)
        f1 = 200 * hit / (truth + guess)
        recall = 100 * hit / truth
        agreement = hit.sum() / total
        by_chance = (truth * guess).sum() / total**2
        kappa = (agreement - by_chance) / (1 - by_chance)
    scores = {
        'mIoU': _mean(iou), 'mF1': _mean(f1), 'OA': float(100 * agreement), 'mAcc': _mean(recall),
        'kappa': float(kappa)
    }
    scores.update({f'IoU/{name}': float(value) for name, value in zip(classes, iou)})
    scores.update({f'F1/{name}': float(value) for name, value in zip(classes, f1)})
    return scores


def _mean(values: np.ndarray) -> float:
    """Mean of the defined values; NaN, without a warning, when there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float('nan')
