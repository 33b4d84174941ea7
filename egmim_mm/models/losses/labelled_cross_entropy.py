from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine import dist
from torch import Tensor, nn

from egmim_mm.registry import MODELS


@MODELS.register_module()
class LabelledCrossEntropyLoss(nn.Module):
    """Cross entropy, averaged over the labelled pixels; for the ``loss_decode`` of MMSegmentation's heads.

    Without class weights it has the value of MMSegmentation's ``CrossEntropyLoss(avg_non_ignore=True)``; with them that
    of :func:`torch.nn.functional.cross_entropy`, the weighted mean ``sum(w_y l) / sum(w_y)`` over the labelled pixels.
    MMSegmentation 1.4.2 raises an IndexError for the two together, and an error of an empty maximum for one logit and
    a batch without a labelled pixel. Here such a batch has the loss 0.

    In training the sum is divided by the mean count of the processes, not by that of the own images: the average of
    their losses, and of their gradients, is then the mean over the labelled pixels of all of them.

    Args:
        use_sigmoid: Binary cross entropy of each output, and of heads with one output (class 1 against class 0).
        class_weight: One factor per output, 0 or more. With ``use_sigmoid`` it weighs the pixels that hold the class
            (``pos_weight``), and the mean is that over the labelled pixels.
        loss_weight: Factor of the whole.
        loss_name: Name in the log; it must begin with ``loss_`` to be minimised.
        avg_non_ignore: True; MMSegmentation's name of the mean over labelled pixels, kept so that configs can write it.

    Raises:
        ValueError: ``avg_non_ignore=False``, or a negative class weight.
    """

    def __init__(self,
                 use_sigmoid: bool = False,
                 class_weight: Sequence[float] | None = None,
                 loss_weight: float = 1.0,
                 loss_name: str = 'loss_ce',
                 avg_non_ignore: bool = True) -> None:
        super().__init__()
        if not avg_non_ignore:
            raise ValueError('LabelledCrossEntropyLoss is the mean over labelled pixels: leave avg_non_ignore out, or '
                             "take MMSegmentation's type='CrossEntropyLoss'")
        if class_weight is not None and min(class_weight) < 0:
            raise ValueError(f'class_weight holds {min(class_weight)}: weights must not be negative')
        self.use_sigmoid, self.class_weight = use_sigmoid, class_weight
        self.loss_weight, self.loss_name = loss_weight, loss_name
        factors = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        self.register_buffer('factors', factors, persistent=False)
        self.step_count: Tensor | None = None  # what to divide by in this step, see set_step_count

    def count(self, label: Tensor, ignore_index: int = 255) -> Tensor:
        """Labelled pixels of (N, H, W) labels, or the sum of their class weights; float32 scalar."""
        labelled = label != ignore_index
        if self.use_sigmoid or self.factors is None:
            return labelled.sum().float()
        return self._factors_of(label, labelled).sum()

    def set_step_count(self, count: Tensor | None) -> None:
        """Divide by this mean :meth:`count` of all parts of a step in all processes; None: by that of each batch."""
        self.step_count = count

    def forward(self, cls_score: Tensor, label: Tensor, weight: Tensor | None = None,
                ignore_index: int = 255) -> Tensor:
        """Loss of a batch.

        Args:
            cls_score: (N, K, H, W) logits; K = 1 for one-logit heads.
            label: (N, H, W) int64, classes and ``ignore_index``.
            weight: (N, H, W) factors of the pixels, such as those of a pixel sampler (OHEM).
            ignore_index: Label of the pixels that do not count.

        Returns:
            Scalar.
        """
        labelled = label != ignore_index
        if self.use_sigmoid:
            factors = None if self.factors is None else self.factors.to(cls_score)
            loss = self._binary(cls_score, label, labelled, factors)
        else:
            loss = F.cross_entropy(cls_score, label, ignore_index=ignore_index, reduction='none')
            if self.factors is not None:
                loss = loss * self._factors_of(label, labelled)
        count = self.step_count
        if count is None:
            count = self.count(label, ignore_index)
            if self.training:
                dist.all_reduce(count, 'mean')
        if weight is not None:
            loss = loss * weight
        # as MMSegmentation's: 0 without a labelled pixel
        return self.loss_weight * (loss.sum() / (count + torch.finfo(torch.float32).eps))

    def _factors_of(self, label: Tensor, labelled: Tensor) -> Tensor:
        """(N, H, W) float32: class weight of each pixel, 0 without a label."""
        return self.factors[label.where(labelled, 0)] * labelled

    @staticmethod
    def _binary(cls_score: Tensor, label: Tensor, labelled: Tensor, factors: Tensor | None) -> Tensor:
        """(N, H, W): mean over the outputs, 0 where there is no label."""
        outputs, ones = cls_score.shape[1], [1] * (label.ndim - 1)
        classes = torch.arange(outputs, device=label.device) if outputs > 1 else label.new_ones(1)
        target = (label.unsqueeze(1) == classes.view(-1, *ones)).to(cls_score)  # (N, K, H, W)
        loss = F.binary_cross_entropy_with_logits(
            cls_score, target, pos_weight=None if factors is None else factors.view(-1, *ones), reduction='none')
        return loss.mean(1) * labelled
