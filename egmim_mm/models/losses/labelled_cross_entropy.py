from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egmim_mm.registry import MODELS


@MODELS.register_module()
class LabelledCrossEntropyLoss(nn.Module):
    """Cross entropy, averaged over the labelled pixels; for the ``loss_decode`` of MMSegmentation's heads.

    Without class weights it has the value of MMSegmentation's ``CrossEntropyLoss(avg_non_ignore=True)``; with them that
    of :func:`torch.nn.functional.cross_entropy`, the weighted mean ``sum(w_y l) / sum(w_y)`` over the labelled pixels.
    MMSegmentation 1.4.2 raises an IndexError for the two together, and an error of an empty maximum for one logit and
    a batch without a labelled pixel. Here such a batch has the loss 0.

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
        self.use_sigmoid = use_sigmoid
        # on the device: a list would be copied there in every step
        weights = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        self.register_buffer('class_weight', weights, persistent=False)
        self.loss_weight, self.loss_name = loss_weight, loss_name

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
        labelled, factors, cls_score = label != ignore_index, self.class_weight, cls_score.float()
        if self.use_sigmoid:
            loss, count = self._binary(cls_score, label, labelled, factors), labelled.sum()
        else:
            loss = F.cross_entropy(cls_score, label, weight=factors, ignore_index=ignore_index, reduction='none')
            # a boolean index would wait for the device
            count = labelled.sum() if factors is None else (factors[label * labelled] * labelled).sum()
        if weight is not None:
            loss = loss * weight
        # as MMSegmentation's: 0 without a labelled pixel
        return self.loss_weight * (loss.sum() / (count + torch.finfo(torch.float32).eps))

    @staticmethod
    def _binary(cls_score: Tensor, label: Tensor, labelled: Tensor, factors: Tensor | None) -> Tensor:
        """(N, H, W): mean over the outputs, 0 where there is no label."""
        outputs, ones = cls_score.shape[1], [1] * (label.ndim - 1)
        classes = torch.arange(outputs, device=label.device) if outputs > 1 else label.new_ones(1)
        target = (label.unsqueeze(1) == classes.view(-1, *ones)).to(cls_score)  # (N, K, H, W)
        loss = F.binary_cross_entropy_with_logits(
            cls_score, target, pos_weight=None if factors is None else factors.view(-1, *ones), reduction='none')
        return loss.mean(1) * labelled
