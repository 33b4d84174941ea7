"""Labels that a teacher gives, which of them count and how much. Pure functions."""
from collections.abc import Sequence

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.nn import functional as F

__all__ = ['boundary_weights', 'class_pixels', 'of_present_classes', 'pseudo_label_loss']


def pseudo_label_loss(logits: Tensor, labels: Tensor, weights: Tensor, valid: Tensor,
                      count: Tensor | None = None) -> Tensor:
    """Cross entropy against pseudo-labels, as FixMatch has it (Sohn et al., NeurIPS 2020, eq. 4).

    A pixel that is not accepted counts in the denominator: few accepted pixels make a small loss.

    Args:
        logits: (B, K, H, W).
        labels: (B, 1, H, W) int64, 0..K-1.
        weights: (B, 1, H, W) in [0, 1]; 0: not accepted.
        valid: (B, 1, H, W) bool; False: no data.
        count: What to divide by; None: the number of valid pixels.

    Returns:
        Scalar float32: sum of weight x cross entropy, over the number of valid pixels; 0 without one.
    """
    loss = F.cross_entropy(logits.float(), labels[:, 0], reduction='none')
    return (loss * (weights * valid)[:, 0]).sum() / (valid.sum() if count is None else count).clamp(min=1)


def boundary_weights(labels: Tensor, edge: Tensor, width: int) -> Tensor:
    """Trust in pseudo-labels: edge strength near the boundaries of the labels, 1 elsewhere.

    Args:
        labels: (B, 1, H, W) classes.
        edge: (B, 1, H, W) edge strength of the image, in [0, 1].
        width: How far from a boundary, px: a pixel is near if another class lies so near, in rows and columns; and how
            far from a pixel its edge may lie.

    Returns:
        (B, 1, H, W) float32 in [0, 1].
    """
    window = dict(kernel_size=2 * width + 1, stride=1, padding=width)
    numbers = labels.float()
    near = F.max_pool2d(numbers, **window) != -F.max_pool2d(-numbers, **window)
    return torch.where(near, F.max_pool2d(edge.float(), **window), 1.0)


def of_present_classes(labels: Tensor, weights: Tensor, samples: Sequence[BaseDataElement]) -> tuple[Tensor, Tensor]:
    """Pseudo-labels whose class an image is known not to show are not accepted.

    Args:
        labels: (B, 1, H, W) classes.
        weights: (B, 1, H, W).
        samples: B samples, with ``present`` in the meta data the classes that the image shows; without, any.

    Returns:
        The labels as they are, and their weights, 0 where the class is absent.
    """
    known = [sample.metainfo.get('present') for sample in samples]
    shown = [torch.ones_like(own, dtype=torch.bool) if present is None else torch.isin(own, own.new_tensor(present))
             for own, present in zip(labels, known)]
    return labels, weights * torch.stack(shown)


def class_pixels(labels: Tensor, counted: Tensor, classes: int) -> Tensor:
    """(K, ) float32: pixels of each class among those that are counted; both (B, 1, H, W), ``counted`` bool."""
    return torch.stack([((labels == number) & counted).sum() for number in range(classes)]).float()
