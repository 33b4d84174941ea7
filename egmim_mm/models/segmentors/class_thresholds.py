import torch
from mmengine import dist
from torch import Tensor, nn

from .pseudo_labels import class_pixels

__all__ = ['ClassThresholds']

_MOMENTUM = 0.99


class ClassThresholds(nn.Module):
    """A threshold for each class, which follows how sure the teacher is of it.

    The threshold is multiplied by the mean confidence of the class, as a share of that of the surest class: the
    class-wise part of FreeMatch (Wang et al., ICLR 2023). The means are averages over the steps, saved in checkpoints.

    Args:
        threshold: Of the surest class, and of classes that were never predicted.
        classes: K.
    """

    def __init__(self, threshold: float, classes: int) -> None:
        super().__init__()
        self.threshold = threshold
        self.register_buffer('confidence', torch.zeros(classes))  # 0: never predicted

    def forward(self) -> Tensor:
        """(K, ) thresholds."""
        share = self.confidence / self.confidence.max().clamp(min=torch.finfo(torch.float32).tiny)
        return self.threshold * torch.where(self.confidence > 0, share, 1.0)

    def update(self, probability: Tensor, labels: Tensor, valid: Tensor) -> None:
        """Move the means towards this step's, those of all processes; in eval mode they stay.

        Args:
            probability: (B, 1, H, W) of the predicted class.
            labels: (B, 1, H, W) that class.
            valid: (B, 1, H, W) bool.
        """
        if not self.training:
            return
        classes = len(self.confidence)
        sums = [probability.where((labels == number) & valid, 0.0).sum() for number in range(classes)]
        both = torch.stack([torch.stack(sums), class_pixels(labels, valid, classes)])
        dist.all_reduce(both, 'sum')
        now = both[0] / both[1].clamp(min=1)
        moved = torch.where(self.confidence > 0, self.confidence * _MOMENTUM + now * (1 - _MOMENTUM), now)
        self.confidence.copy_(torch.where(both[1] > 0, moved, self.confidence))
