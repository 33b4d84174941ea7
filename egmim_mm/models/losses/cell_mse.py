import torch
from torch import Tensor, nn

from egmim_mm.registry import MODELS


@MODELS.register_module()
class CellMSELoss(nn.Module):
    """Mean squared error of cell descriptors, weighted by the hidden share of each cell.

    Per sample ``sum(m |y - y^|^2) / (D sum(m))``, then the mean over samples; the loss of MaskFeat
    (Wei et al., CVPR 2022) on HOG targets.
    """

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Args: prediction, target (B, D, h, w); mask (B, 1, h, w), hidden share of each cell in [0, 1].

        Returns:
            Scalar; 0 where nothing is hidden.
        """
        error = (prediction.float() - target.float()).square() * mask
        count = mask.sum((1, 2, 3)) * prediction.shape[1]
        return (error.sum((1, 2, 3)) / count.clamp(min=torch.finfo(count.dtype).tiny)).mean()
