import torch
from torch import Tensor, nn

from egmim_mm.registry import MODELS


@MODELS.register_module()
class GradientL1Loss(nn.Module):
    """L1 between the image gradients of the composite image and of the image itself.

    The composite ``c = x (1 - M) + x^ M`` is what a person sees: visible pixels as they are, hidden ones predicted.
    Per sample, with forward differences D in x and y,
    ``sum_D m_D |D c - D x| / (C sum_D m_D)`` with ``m_D = 1`` where D reads at least one hidden pixel; then the mean
    over samples. Since ``D c - D x = D (M (x^ - x))``, a blurred edge inside a hidden area and a step at its border
    (a seam) cost alike. Forward differences reach one pixel and need no convolution; Sobel's smoothing would spread a
    seam over visible pixels.

    The idea is the gradient difference loss of Mathieu et al. (ICLR 2016, section 3.3), which compares the absolute
    values of the differences; here their signs count too.
    """

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Args: prediction, target (B, C, H, W), H, W >= 2; mask (B, 1, H, W), 1 = hidden, 0 = visible.

        Returns:
            Scalar in units of the target per px; 0 where nothing is hidden.
        """
        error = (prediction.float() - target.float()) * mask
        total = error.diff(dim=2).abs().sum((1, 2, 3)) + error.diff(dim=3).abs().sum((1, 2, 3))
        down = torch.maximum(mask[:, :, 1:], mask[:, :, :-1]).sum((1, 2, 3))
        across = torch.maximum(mask[..., 1:], mask[..., :-1]).sum((1, 2, 3))
        count = (down + across) * prediction.shape[1]
        # an empty mask gives 0 / tiny = 0 instead of NaN
        return (total / count.clamp(min=torch.finfo(count.dtype).tiny)).mean()
