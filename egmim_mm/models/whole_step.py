"""A step whose images are computed in several parts: its losses are those of all images at once."""
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from mmengine import dist
from torch import nn

from .losses import LabelledCrossEntropyLoss

__all__ = ['whole_step']


@contextmanager
def whole_step(model: nn.Module, parts: Sequence[dict], precision: AbstractContextManager) -> Iterator[None]:
    """Within it the losses of the parts, averaged over parts and processes, are those of the whole batch.

    For what is not a plain mean over images the parts are looked at beforehand: the labelled pixels that
    :class:`LabelledCrossEntropyLoss` divides by are counted, and a model with ``look_ahead(parts)`` is asked to.

    Args:
        model: Any; without a wrapper.
        parts: What its data preprocessor gave for each part of this process's images, of equal numbers of images.
        precision: Context in which the model computes.
    """
    counting = list(_counting_losses(model))
    if counting:
        labels = [torch.stack([sample.gt_sem_seg.data.squeeze(0) for sample in part['data_samples']]) for part in parts]
        counts = torch.stack([torch.stack([loss.count(label, ignored) for label in labels]).mean()
                              for loss, ignored in counting])
        dist.all_reduce(counts, 'mean')
        for (loss, _), count in zip(counting, counts):
            loss.set_step_count(count)
    if hasattr(model, 'look_ahead'):
        with precision:
            model.look_ahead(parts)
    try:
        yield
    finally:
        for loss, _ in counting:
            loss.set_step_count(None)


def _counting_losses(model: nn.Module) -> Iterator[tuple[LabelledCrossEntropyLoss, int]]:
    """(loss, ignore_index of its head) of every head of a segmentor."""
    for head in model.modules():
        losses = getattr(head, 'loss_decode', None)
        for loss in losses if isinstance(losses, nn.ModuleList) else [losses]:
            if isinstance(loss, LabelledCrossEntropyLoss):
                yield loss, head.ignore_index
