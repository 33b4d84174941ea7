import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egmim_mm.registry import MODELS


@MODELS.register_module()
class EdgeWeightedL1Loss(nn.Module):
    """L1 or smooth L1 over hidden pixels, edges weighing more.

    Per sample ``sum(M w |x - x^|) / (C sum(M w))`` with ``w = 1 + gamma E``; then the mean over samples. With
    ``gamma = 0`` it is SimMIM's loss (Xie et al., CVPR 2022, eq. 1). Normalising per sample makes the loss
    of a batch the mean of the losses of its parts, so it does not depend on the number of processes.

    Args:
        gamma: Extra weight of a full-strength edge.
        beta: Transition point of the smooth L1; 0 = plain L1.
    """

    def __init__(self, gamma: float = 1.0, beta: float = 0.0) -> None:
        super().__init__()
        self.gamma = gamma
        self.beta = beta

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor, edge: Tensor) -> Tensor:
        """Args: prediction, target (B, C, h, w); mask (B, 1, h, w), 1 = hidden; edge (B, 1, h, w) in [0, 1].

        Returns:
            Scalar; 0 where nothing is hidden.
        """
        error = F.smooth_l1_loss(prediction.float(), target.float(), reduction='none', beta=self.beta)
        weight = mask * (1 + self.gamma * edge)
        total = (error * weight).sum((1, 2, 3))
        count = weight.sum((1, 2, 3)) * prediction.shape[1]
        # an empty mask gives 0 / tiny = 0 instead of NaN
        return (total / count.clamp(min=torch.finfo(count.dtype).tiny)).mean()
